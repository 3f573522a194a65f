"""Which photos of a folder can be used, and why the others cannot: every file is decoded."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from aelif.artifacts import sha256_of

if TYPE_CHECKING:
    from imagehash import ImageHash

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""What Pillow may try, of the many formats that it knows."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
COMPANION_SUFFIXES = (".txt", ".json", ".jsonl", ".csv", ".md")
"""Captions and notes that may lie beside photos; passed over in silence."""
CLUTTER = ("thumbs.db", "desktop.ini")

MAX_PIXELS = 150_000_000
"""Largest photo; decoding takes 3 bytes per pixel and more."""
MAX_HASH_DISTANCE = 4
"""Perceptual hashes (64 bits) that differ in at most so many bits may be of one photo …"""
MAX_COLOUR_DISTANCE = 6.0
"""… and are, if their 16 × 16 thumbnails differ by at most this mean absolute value, of 255."""

_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged data (SyntaxError: a broken PNG chunk)."""


class UnusablePhotoError(ValueError):
    """A photo that cannot be used; the message is the reason alone, without the file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A photo that can be used."""

    path: Path
    sha256: str
    width: int
    """Pixels, once upright."""
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A file that is not used, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a folder of photos holds, in the order of the file names."""

    accepted: tuple[Photo, ...]
    quarantined: tuple[Quarantined, ...]


def inspect_photos(folder: Path, *, min_size: int = 32, source: str = "") -> Inspection:
    """Decode every file of a folder and sort the usable photos from the others.

    Hidden files, folders, captions and what file managers leave behind are passed over. Of photos
    that are equal, or look equal (re-encoded, resized, turned by EXIF), the first is kept.

    Args:
        folder: its own files are read, not those of its subfolders.
        min_size: least width and height, in pixels.
        source: how messages name the folder, where it was unpacked or downloaded; else by its path.

    Raises:
        ValueError: if the folder does not exist or has no usable photo; says why.
    """
    if not folder.is_dir():
        kind = "this is a file" if folder.exists() else "no such folder"
        raise ValueError(
            f"{source or folder}: {kind}; name a folder of photos, an archive (zip, tar, tar.gz) or s3://…"
        )
    accepted: list[Photo] = []
    quarantined: list[Quarantined] = []
    seen: list[_Look] = []
    for path in sorted(path for path in folder.iterdir() if not is_passed_over(path)):
        try:
            photo, look = _inspect(path, min_size=min_size, seen=seen)
        except UnusablePhotoError as error:
            quarantined.append(Quarantined(file=path.name, reason=str(error)))
            continue
        accepted.append(photo)
        seen.append(look)
    if not accepted:
        raise ValueError(f"{source or folder}: {_nothing_usable(folder, quarantined, min_size)}")
    return Inspection(accepted=tuple(accepted), quarantined=tuple(quarantined))


def is_passed_over(path: Path) -> bool:
    """Return whether a folder's entry is no photo, nor meant to be one: hidden, a folder, a caption, clutter."""
    name = path.name.lower()
    return not path.is_file() or name.startswith(".") or name in CLUTTER or name.endswith(COMPANION_SUFFIXES)


def _nothing_usable(folder: Path, quarantined: list[Quarantined], min_size: int) -> str:
    """Return what is wrong with a folder without one usable photo, and the remedy."""
    captions = any(path.suffix.lower() in (".txt", ".jsonl") for path in folder.iterdir())
    nothing = "it has captions but no image" if captions else "it has no image"
    found = "; ".join(f"{item.file}: {item.reason}" for item in quarantined[:5]) or nothing
    more = f"; and {len(quarantined) - 5} more" if len(quarantined) > 5 else ""
    nested = any(path.suffix.lower() in SUFFIXES for path in folder.glob("*/*"))
    hint = "; subfolders are not read: name one of them" if nested else ""
    return f"no usable photo ({found}{more}){hint}; give JPEG or PNG photos of at least {min_size} pixels"


# ── One photo ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What a photo is compared by."""

    name: str
    sha256: str
    phash: ImageHash
    thumbnail: np.ndarray
    """(16, 16, 3) float32 in [0, 255]."""


def _inspect(path: Path, *, min_size: int, seen: Iterable[_Look]) -> tuple[Photo, _Look]:
    """Decode one photo and compare it with those before it.

    Raises:
        UnusablePhotoError: if it cannot be used.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UnusablePhotoError(f"{path.suffix or 'a name without suffix'} is not read; save it as JPEG or PNG")
    sha256 = sha256_of(path)
    for other in seen:
        if sha256 == other.sha256:
            raise UnusablePhotoError(f"duplicate: the same file as {other.name}")
    image = decode_photo(path, min_size=min_size)
    look = _look(path.name, sha256, image)
    for other in seen:
        colours = float(np.abs(look.thumbnail - other.thumbnail).mean())
        if look.phash - other.phash <= MAX_HASH_DISTANCE and colours <= MAX_COLOUR_DISTANCE:
            raise UnusablePhotoError(f"duplicate: looks the same as {other.name}")
    return Photo(path=path, sha256=sha256, width=image.width, height=image.height), look


def _look(name: str, sha256: str, image: Image.Image) -> _Look:
    import imagehash

    small = image.resize((128, 128), Image.Resampling.BOX, reducing_gap=2.0)
    thumbnail = np.asarray(small.resize((16, 16), Image.Resampling.BOX), dtype=np.float32)
    return _Look(name=name, sha256=sha256, phash=imagehash.phash(small), thumbnail=thumbnail)


def decode_photo(path: Path, *, min_size: int = 1) -> Image.Image:
    """Return a photo upright, as 8-bit sRGB; size and frames are checked from the header, before decoding.

    Raises:
        UnusablePhotoError: if it is no image, damaged, animated, too small or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limits and remarks on EXIF: the checks are below
            with Image.open(path, formats=FORMATS) as image:
                _check_header(image, min_size)
                image.load()
                return to_srgb(ImageOps.exif_transpose(image))
    except UnusablePhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise UnusablePhotoError(f"too many pixels: more than {MAX_PIXELS:,}; resize it") from error
    except UnidentifiedImageError as error:
        raise UnusablePhotoError("no image in it, whatever its name says") from error
    except _DECODE_ERRORS as error:
        raise UnusablePhotoError(f"damaged: {' '.join(str(error).split())}; copy or export it again") from error


def _check_header(image: Image.Image, min_size: int) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnusablePhotoError(f"too many pixels: {width} × {height}, more than {MAX_PIXELS:,}; resize it")
    if min(width, height) < min_size:
        raise UnusablePhotoError(f"too small: {width} × {height} pixels, less than {min_size}")
    # Pages (TIFF) and several views in one JPEG (MPO) are no animation: the first is the photo.
    if image.format not in ("MPO", "TIFF") and getattr(image, "is_animated", False):
        raise UnusablePhotoError("animated; save one frame as an image")


# ── Colour ─────────────────────────────────────────────────────────────────────────────────────


def to_srgb(image: Image.Image) -> Image.Image:
    """Return any image as 8-bit sRGB: alpha on white, deep grey scaled, colour profiles applied.

    Raises:
        UnusablePhotoError: for floating-point pixels and for grey deeper than 16 bits.
    """
    profile = image.info.get("icc_profile")
    if image.mode == "F":
        raise UnusablePhotoError("floating-point pixels; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", image.size, "white")
        image.alpha_composite(layer)
    if image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("RGB")
    if profile:
        image = _apply_profile(image, profile)
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion cuts off at 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnusablePhotoError("grey deeper than 16 bits; save it with 8 or 16 bits")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the image in sRGB, or unchanged where its profile is broken or of another colour model."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # viewers ignore such profiles too
        return image
    return converted or image
