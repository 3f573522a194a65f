"""From the subjects' photos to the training images: of one size or a few, each with its caption and subject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aelif.artifacts import ImageRecord, digest_of, new_folder, write_image_records, write_json
from aelif.config import DataConfig, Subject
from aelif.prepare.buckets import nearest_bucket
from aelif.prepare.captions import read_captions
from aelif.prepare.crop import crop_to
from aelif.prepare.inspect import Inspection, Photo, decode_photo, inspect_photos
from aelif.progress import StepProgress

MIN_SIZE = 32
"""Least width and height of a photo, in pixels …"""
MAX_ENLARGEMENT = 4
"""… and how far one may be enlarged to the training size."""
MIN_PHOTOS = 2
"""Usable photos of a subject; one has no spread: no noise floor to score against, and nothing but the picture
itself to learn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPhotos:
    """What one subject's folder holds."""

    subject: Subject
    inspection: Inspection
    captions: dict[str, str]
    """Photo's name → caption, where it has one of its own."""


def read_subject(folder: Path, subject: Subject, *, image_size: int) -> SubjectPhotos:
    """Inspect one subject's photos and read their captions; writes nothing, so it serves as a check beforehand.

    Args:
        folder: the photos, fetched from `subject.instance_images`.
        subject: its identifier must stand in every caption.
        image_size: training size, in pixels; photos far below it are not used.

    Raises:
        ValueError: if fewer than `MIN_PHOTOS` photos can be used, or a caption is wrong; names source and file.
    """
    source = subject.instance_images
    inspection = inspect_photos(folder, min_size=max(MIN_SIZE, image_size // MAX_ENLARGEMENT), source=source)
    if len(inspection.accepted) < MIN_PHOTOS:
        others = "".join(f"; {item.file}: {item.reason}" for item in inspection.quarantined[:5])
        raise ValueError(
            f"instance_images = {source!r}: only {inspection.accepted[0].path.name} can be used{others}; give at least "
            f"{MIN_PHOTOS} photos, better 4 to 20: of one, training learns the picture instead of the subject"
        )
    captions = read_captions(folder, identifier=subject.identifier, source=source)
    return SubjectPhotos(subject=subject, inspection=inspection, captions=captions)


def prepare_photos(folders: Sequence[Path], output: Path, *, config: DataConfig, progress: StepProgress) -> None:
    """Write the training images of all subjects as one image folder with `manifest.json`.

    The images are `000.png` … by subject and name of the photo. Their records say subject, size, and
    caption, which is the subject's instance prompt where the photo has none. Photos become squares of
    `image_size`, or with `aspect_buckets` the size nearest their ratio (see `nearest_bucket`).

    Args:
        folders: the photos of each of `config.subjects`, in their order.
        output: the folder to write; it appears whole or not at all.
        config: subjects and size.
        progress: told the photos, and of those that are not used.

    Raises:
        ValueError: if a subject has too few usable photos, or a caption is wrong.
        OSError: if the disk is full or `output` is not writable.
    """
    read = [
        read_subject(folder, subject, image_size=config.image_size)
        for folder, subject in zip(folders, config.subjects, strict=True)
    ]
    _warn(read, progress)
    records, total = [], sum(len(item.inspection.accepted) for item in read)
    with new_folder(output) as temporary:
        for number, (index, photo, text) in enumerate(_captioned(read)):
            width, height = _target_size(photo, config)
            name = f"{number:03d}.png"
            crop_to(decode_photo(photo.path), (width, height)).save(temporary / name)
            records.append(ImageRecord(file_name=name, text=text, subject=index, width=width, height=height))
            progress.advance(number + 1, total, "photos")
        write_image_records(temporary, records)
        write_json(temporary / "manifest.json", manifest(read, records))


def _captioned(read: Sequence[SubjectPhotos]) -> Iterator[tuple[int, Photo, str]]:
    """Yield each usable photo with its subject's number and its caption."""
    for index, item in enumerate(read):
        for photo in item.inspection.accepted:
            yield index, photo, item.captions.get(photo.path.name, item.subject.instance_prompt)


def _target_size(photo: Photo, config: DataConfig) -> tuple[int, int]:
    """Return width and height of a photo's training image."""
    if config.aspect_buckets:
        return nearest_bucket(photo.width, photo.height, image_size=config.image_size)
    return config.image_size, config.image_size


def _warn(read: Sequence[SubjectPhotos], progress: StepProgress) -> None:
    """Say which photos are not used."""
    for item in read:
        refused, used = item.inspection.quarantined, len(item.inspection.accepted)
        if refused:
            files = "; ".join(f"{one.file}: {one.reason}" for one in refused[:5])
            more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
            progress.emit("warning", message=f"{item.subject.instance_images}: {len(refused)} of "
                          f"{len(refused) + used} files are not used ({files}{more})")  # fmt: skip


def manifest(read: Sequence[SubjectPhotos], records: Sequence[ImageRecord]) -> dict[str, object]:
    """Return what `manifest.json` says: per subject, the photos' names and SHA-256, and what was not used and why.

    Digests are of the sets of photos, whatever their names and order. Sizes are those of the upright
    photos, in pixels. `source` is that of the scored subject.
    """
    subjects = []
    for index, item in enumerate(read):
        own = [record for record in records if record.subject == index]
        subjects.append(_subject_manifest(item, own))
    digests = [str(entry["digest"]) for entry in subjects]
    return {
        "digest": digests[0] if len(digests) == 1 else digest_of(digests),
        "count": len(records),
        "source": read[0].subject.instance_images,
        "subjects": subjects,
    }


def _subject_manifest(item: SubjectPhotos, records: Sequence[ImageRecord]) -> dict[str, object]:
    """Return one subject's entry in the manifest."""
    accepted = item.inspection.accepted
    return {
        "identifier": item.subject.identifier,
        "source": item.subject.instance_images,
        "digest": digest_of(sorted(photo.sha256 for photo in accepted)),
        "count": len(records),
        "files": [
            {
                "file_name": record.file_name,
                "source": photo.path.name,
                "sha256": photo.sha256,
                "width": photo.width,
                "height": photo.height,
            }
            for record, photo in zip(records, accepted, strict=True)
        ],
        "quarantined": [{"file": one.file, "reason": one.reason} for one in item.inspection.quarantined],
    }
