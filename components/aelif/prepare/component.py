"""The steps that read photos: what is new, training images with captions and a manifest, images to score against."""

from typing import NamedTuple

from kfp import dsl

from aelif import images


# kfp reads the names of several outputs from an inline NamedTuple alone: it embeds the function without its module.
@dsl.component(base_image=images.CPU, install_kfp_package=False)
def read_fingerprints(data: dict, base_model: str, tracking: dict, code_version: str) -> NamedTuple(  # type: ignore[valid-type]
    "Fingerprints", [("photos", str), ("reference", str), ("base", str)]
):
    """Return digests of what may change under its name: photos, reference photos, base model ("" where it may not).

    Never cached: they are parts of the cache keys of the steps that read these.

    Args:
        data: section `DataConfig`.
        base_model: as in `RunConfig`.
        tracking: a `TrackingConfig` in plain values, for a base model in the registry.
        code_version: part of the cache key.
    """
    from collections import namedtuple

    from aelif.config import DataConfig, from_dict
    from aelif.models.names import base_fingerprint
    from aelif.prepare.reference import photo_fingerprints
    from aelif.registry.live import tracked_step

    with tracked_step("read_inputs"):
        photos, reference = photo_fingerprints(from_dict(DataConfig, data))
        base = base_fingerprint(base_model, tracking_uri=tracking["tracking_uri"])
    Fingerprints = namedtuple("Fingerprints", ["photos", "reference", "base"])
    return Fingerprints(photos, reference, base)


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
    from aelif.registry.live import tracked_step
    from aelif.storage import fetch

    with tracked_step("prepare_data") as progress, TemporaryDirectory() as scratch:
        config, most = from_dict(DataConfig, data), 4 * 2**30
        sources = [subject.instance_images for subject in config.subjects]
        folders = [fetch(uri, Path(scratch) / f"photos{n}", max_bytes=most) for n, uri in enumerate(sources)]
        prepare_photos(folders, Path(photos.path), config=config, progress=progress)


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def prepare_reference(
    data: dict,
    fingerprint: str,
    photos: dsl.Input[dsl.Dataset],
    reference: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Decode, crop and resize the photos that images are measured against: the training photos where none are given.

    Args:
        data: section `DataConfig`.
        fingerprint: of the reference photos; part of the cache key.
        photos: what `prepare_data` wrote.
        reference: image folder with `metadata.jsonl` and `manifest.json`.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.config import DataConfig, from_dict
    from aelif.prepare.reference import write_reference
    from aelif.registry.live import tracked_step

    with tracked_step("prepare_reference") as progress:
        config = from_dict(DataConfig, data)
        write_reference(Path(photos.path), Path(reference.path), config=config, progress=progress)
