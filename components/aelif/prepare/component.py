"""Step `prepare_data`: photos → square training images with captions and a manifest."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def prepare_data(data: dict, fingerprint: str, photos: dsl.Output[dsl.Dataset], code_version: str) -> None:
    """Decode, crop and resize the subject's photos; damaged and duplicate ones are quarantined.

    Args:
        data: the settings of `aelif.config.DataConfig`.
        fingerprint: `aelif.storage.fingerprint` of the photos; part of the cache key.
        photos: image folder with `metadata.jsonl` and `manifest.json`.
        code_version: part of the cache key.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from aelif.config import DataConfig, from_dict
    from aelif.prepare.crop import prepare_photos
    from aelif.progress import step_work
    from aelif.storage import fetch

    with step_work("prepare_data"), TemporaryDirectory() as scratch:
        config = from_dict(DataConfig, data)
        folder = fetch(config.instance_images, Path(scratch) / "photos", max_bytes=4 * 2**30)
        prepare_photos(folder, Path(photos.path), config=config)
