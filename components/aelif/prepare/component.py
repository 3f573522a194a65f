"""Step `prepare_data`: photos → training images with captions and a manifest."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def prepare_data(data: dict, fingerprint: str, photos: dsl.Output[dsl.Dataset], code_version: str) -> None:
    """Decode, crop and resize the subjects' photos; damaged and duplicate ones are quarantined.

    Args:
        data: the settings of `aelif.config.DataConfig`.
        fingerprint: digest of `aelif.storage.fingerprint` of every subject's photos; part of the cache key.
        photos: image folder with `metadata.jsonl` and `manifest.json`.
        code_version: part of the cache key.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from aelif.config import DataConfig, from_dict
    from aelif.prepare.photos import prepare_photos
    from aelif.progress import step_work
    from aelif.storage import fetch

    with step_work("prepare_data") as progress, TemporaryDirectory() as scratch:
        config, most = from_dict(DataConfig, data), 4 * 2**30
        sources = [subject.instance_images for subject in config.subjects]
        folders = [fetch(uri, Path(scratch) / f"photos{n}", max_bytes=most) for n, uri in enumerate(sources)]
        prepare_photos(folders, Path(photos.path), config=config, progress=progress)
