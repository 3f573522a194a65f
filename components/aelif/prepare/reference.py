"""The photos that images are measured against: a set of their own that is not trained on, or the training photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from aelif.artifacts import digest_of, link_file, new_folder, read_json
from aelif.config import DataConfig
from aelif.prepare.photos import prepare_photos
from aelif.progress import StepProgress
from aelif.storage import fetch, fingerprint


def photo_fingerprints(data: DataConfig) -> tuple[str, str]:
    """Return the digests of all training photos and of the reference photos, "" where there are none; reads no image.

    Raises:
        ValueError: if there is nothing where they should be.
        ConnectionError: if the S3 endpoint cannot be reached.
    """
    photos = digest_of([fingerprint(subject.instance_images) for subject in data.subjects])
    return photos, fingerprint(data.reference_images) if data.reference_images else ""


def write_reference(photos: Path, output: Path, *, config: DataConfig, progress: StepProgress) -> None:
    """Write the image folder that images are measured against.

    Args:
        photos: the prepared training photos.
        output: the folder to write; without reference photos, the training photos again.
        config: names both.
        progress: told the photos.

    Raises:
        ValueError: if too few can be used, or one of them is among the training photos.
    """
    if not config.reference_images:
        with new_folder(output) as folder:
            copytree(photos, folder, dirs_exist_ok=True, copy_function=_link)
        return
    alone = replace(config, instance_images=config.reference_images, reference_images="", more_subjects=())
    with TemporaryDirectory() as scratch:
        source = fetch(config.reference_images, Path(scratch) / "photos")
        prepare_photos([source], output, config=alone, progress=progress)
    shared = _sources(output) & _sources(photos)
    if shared:
        raise ValueError(
            f"reference_images = {config.reference_images!r}: {len(shared)} of them are trained on as well; "
            "take them out of one of the two folders, or images are measured against what was learnt by heart"
        )


def _link(source: str, target: str) -> None:
    link_file(Path(source).resolve(), Path(target))


def _sources(folder: Path) -> set[str]:
    """Return the SHA-256 of the photos that a prepared folder was made of."""
    manifest = read_json(folder / "manifest.json")
    return {str(file["sha256"]) for subject in manifest["subjects"] for file in subject["files"]}
