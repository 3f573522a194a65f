"""Every kind of file a user's folder may hold."""

import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from aelif.prepare.inspect import decode_photo, inspect_photos

EXIF_ORIENTATION = 0x0112


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    width, height = image.size
    return [image.getpixel(at) for at in [(1, 1), (width - 2, 1), (1, height - 2), (width - 2, height - 2)]]


def quadrants(size: int = 64) -> Image.Image:
    """Return an image whose corners are red, green, blue and white."""
    image = Image.new("RGB", (size, size // 2), "white")
    half, quarter = size // 2, size // 4
    image.paste("red", (0, 0, half, quarter))
    image.paste("lime", (half, 0, size, quarter))
    image.paste("blue", (0, quarter, half, 2 * quarter))
    return image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def write_bomb(path: Path, side: int) -> None:
    """Write a valid 1-bit PNG header of side × side pixels, with compressed rows."""
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((side // 8 + 1) * 1000), 9)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    )


def reasons(folder: Path) -> dict[str, str]:
    return {item.file: item.reason for item in inspect_photos(folder).quarantined}


def test_a_mixed_folder_is_sorted_file_by_file(tmp_path, scene):
    scene(0).save(tmp_path / "good.png")
    scene(1).save(tmp_path / "truncated.jpg", quality=95)
    content = (tmp_path / "truncated.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("this is no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    scene(2, (200, 31)).save(tmp_path / "low.png")
    scene(3).save(tmp_path / "moving.gif", save_all=True, append_images=[scene(4)])
    scene(5).save(tmp_path / "still.gif")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    Image.fromarray(np.ones((64, 64), np.float32)).save(tmp_path / "float.tif")
    scene(6).save(tmp_path / "broken.png")
    content = (tmp_path / "broken.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(content[:60] + b"????" + content[64:])
    for junk in (".DS_Store", "Thumbs.db", "._good.png", "good.txt", "metadata.jsonl"):
        (tmp_path / junk).write_text("junk")
    (tmp_path / "folder.jpg").mkdir()
    found = reasons(tmp_path)
    expected = {
        "broken.png": "damaged",
        "dot.png": "too small: 1 × 1",
        "empty.jpg": "no image",
        "float.tif": "floating-point",
        "low.png": "too small: 200 × 31",
        "moving.gif": "animated",
        "phone.heic": ".heic is not read",
        "text.png": "no image",
        "truncated.jpg": "damaged",
    }
    assert list(found) == list(expected)
    for file, reason in expected.items():
        assert found[file].startswith(reason), found[file]
    assert [photo.path.name for photo in inspect_photos(tmp_path).accepted] == ["good.png", "still.gif"]


@pytest.mark.parametrize("side", [13_000, 30_000])
def test_a_decompression_bomb_is_rejected_from_its_header(side, tmp_path, scene):
    scene(0).save(tmp_path / "good.png")
    write_bomb(tmp_path / "bomb.png", side)
    limit = Image.MAX_IMAGE_PIXELS
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reasons(tmp_path)["bomb.png"].startswith("too many pixels")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert limit == Image.MAX_IMAGE_PIXELS


def test_equal_and_equal_looking_photos_are_kept_once(tmp_path, scene):
    scene(0, (300, 200)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    scene(0, (300, 200)).save(tmp_path / "c.jpg", quality=70)
    scene(0, (150, 100)).save(tmp_path / "d.png")
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    scene(0, (300, 200)).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "e.png", exif=exif)
    scene(1, (300, 200)).save(tmp_path / "f.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "g.png")
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "h.png")
    found = inspect_photos(tmp_path)
    assert [photo.path.name for photo in found.accepted] == ["a.png", "f.png", "g.png", "h.png"]
    assert [item.reason for item in found.quarantined] == [
        "duplicate: the same file as a.png",
        *["duplicate: looks the same as a.png"] * 3,
    ]


def test_a_folder_without_a_usable_photo_says_why(tmp_path, scene):
    with pytest.raises(ValueError, match=r"no such folder"):
        inspect_photos(tmp_path / "none")
    with pytest.raises(ValueError, match=r"it has no image"):
        inspect_photos(tmp_path)
    (tmp_path / "sub").mkdir()
    scene(0).save(tmp_path / "sub" / "a.png")
    with pytest.raises(ValueError, match=r"subfolders are not read"):
        inspect_photos(tmp_path)
    for index in range(7):
        (tmp_path / f"{index}.png").write_text("text")
    with pytest.raises(ValueError, match=r"0\.png: no image in it.*and 2 more.*give JPEG or PNG") as error:
        inspect_photos(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"this is a file"):
        inspect_photos(tmp_path / "0.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation, tmp_path):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF value → Pillow's transposition that makes it upright
    stored = quadrants()
    if orientation > 1:  # store it so that undoing gives the upright image: the inverse transposition
        inverse = {0: 0, 1: 1, 3: 3, 5: 5, 6: 6, 2: 4, 4: 2}[undo[orientation]]
        stored = stored.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    image = decode_photo(tmp_path / "a.png")
    assert image.size == (64, 32)
    assert corners(image) == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def test_sixteen_bit_grey_keeps_its_tones(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray(ramp).save(tmp_path / "b.tif")
    for name in ("a.png", "b.tif"):
        values = np.asarray(decode_photo(tmp_path / name)).astype(int)
        assert np.abs(values[..., 0] - ramp / 257).max() <= 1
        assert (values == values[..., :1]).all()
    Image.fromarray(np.full((64, 64), 70_000, np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match="deeper than 16 bits"):
        decode_photo(tmp_path / "deep.tif")


def test_sixteen_bit_colour_is_scaled(tmp_path):
    side, value = 40, (0x80, 0x40, 0xC0)
    row = b"\0" + b"".join(bytes([channel, 0x10]) for channel in value) * side
    header = side.to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(row * side)) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert decode_photo(tmp_path / "a.png").getpixel((5, 5)) == value


def test_cmyk_palette_grey_bilevel_and_ycc_keep_their_colours(tmp_path):
    plain = quadrants()
    plain.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
    plain.convert("CMYK").save(tmp_path / "cmyk.tif")
    plain.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    plain.save(tmp_path / "ycc.jpg", quality=100, subsampling=0)
    for name in ("cmyk.jpg", "cmyk.tif", "palette.png", "ycc.jpg"):
        image = decode_photo(tmp_path / name)
        assert image.mode == "RGB"
        assert np.abs(np.subtract(corners(image), corners(plain))).max() <= 6, name
    plain.convert("L").save(tmp_path / "grey.png")
    assert corners(decode_photo(tmp_path / "grey.png"))[0] == (76, 76, 76)  # 0.299 · 255
    Image.new("1", (40, 40), 1).save(tmp_path / "bilevel.png")
    assert decode_photo(tmp_path / "bilevel.png").getpixel((3, 3)) == (255, 255, 255)


def test_alpha_is_laid_on_white(tmp_path):
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (40, 40), (255, 0, 0, 128)).save(tmp_path / "half.png")
    Image.new("LA", (40, 40), (0, 0)).save(tmp_path / "grey.png")
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([0, 0, 255])
    palette.save(tmp_path / "palette.png", transparency=0)
    Image.new("RGB", (40, 40), (0, 255, 0)).save(tmp_path / "key.png", transparency=(0, 255, 0))
    for name in ("clear.png", "grey.png", "palette.png", "key.png"):
        assert decode_photo(tmp_path / name).getpixel((3, 3)) == (255, 255, 255), name
    assert decode_photo(tmp_path / "half.png").getpixel((3, 3)) == (255, 127, 127)


def test_colour_profiles_are_applied_and_bad_ones_ignored(tmp_path):
    plain = Image.new("RGB", (40, 40), (200, 100, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for name, profile in {"srgb": srgb, "lab": lab, "broken": b"no profile"}.items():
        plain.save(tmp_path / f"{name}.png", icc_profile=profile)
        assert np.abs(np.subtract(decode_photo(tmp_path / f"{name}.png").getpixel((3, 3)), (200, 100, 50))).max() <= 1
    swapped = bytearray(srgb)  # a profile whose red and blue primaries are exchanged: colours must follow
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    plain.save(tmp_path / "swapped.png", icc_profile=bytes(swapped))
    assert np.abs(np.subtract(decode_photo(tmp_path / "swapped.png").getpixel((3, 3)), (50, 100, 200))).max() <= 2


def test_a_photo_of_several_views_gives_the_first(tmp_path, scene):
    scene(0).save(tmp_path / "a.mpo", save_all=True, append_images=[scene(1)], quality=95)
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    scene(2).save(tmp_path / "b.tif", save_all=True, append_images=[scene(3)])
    assert len(inspect_photos(tmp_path).accepted) == 2
    for name, seed in {"a.jpg": 0, "b.tif": 2}.items():
        error = np.asarray(decode_photo(tmp_path / name)).astype(int) - np.asarray(scene(seed))
        assert np.abs(error).mean() < 3
