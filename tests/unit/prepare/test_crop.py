"""The image folder that training reads: pixels, captions, manifest, and a disk that is full."""

import errno
import hashlib
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aelif.artifacts import digest_of_folder, read_image_records, read_json
from aelif.config import DataConfig, to_dict
from aelif.prepare.component import prepare_data
from aelif.prepare.crop import prepare_photos, square_crop


@pytest.fixture
def photos(tmp_path, scene):
    folder = tmp_path / "photos"
    folder.mkdir()
    scene(0, (120, 80)).save(folder / "b.png")
    scene(1, (80, 120)).save(folder / "a.jpg", quality=95)
    (folder / "c.png").write_text("no image")
    return folder


def config(folder, **fields) -> DataConfig:
    prompts = {"instance_prompt": "a photo of sks dog", "class_prompt": "a photo of a dog"}
    return DataConfig(instance_images=str(folder), **prompts, **fields)


def test_the_central_square_is_taken():
    image = Image.new("RGB", (200, 100), "red")
    image.paste("blue", (50, 0, 150, 100))
    assert square_crop(image, image_size=64).getcolors() == [(64 * 64, (0, 0, 255))]
    left = square_crop(image, image_size=100, centre=(0.0, 0.5))
    assert left.getpixel((10, 50)) == (255, 0, 0)
    assert left.getpixel((90, 50)) == (0, 0, 255)


def test_a_square_of_the_right_size_is_not_resampled(scene):
    image = scene(0, (64, 64))
    assert np.array_equal(square_crop(image, image_size=64), image)


@given(st.integers(1, 90), st.integers(1, 90), st.floats(0, 1), st.floats(0, 1))
def test_a_plain_image_stays_plain_whatever_its_shape(width, height, x, y):
    square = square_crop(Image.new("RGB", (width, height), (9, 90, 200)), image_size=16, centre=(x, y))
    assert square.getcolors() == [(256, (9, 90, 200))]


def test_the_folder_holds_what_the_contract_says(photos, tmp_path):
    prepare_photos(photos, tmp_path / "out", config=config(photos))
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["000.png", "001.png", "manifest.json", "metadata.jsonl"]
    assert [record.text for record in read_image_records(out)] == ["a photo of sks dog"] * 2
    for name in ("000.png", "001.png"):
        with Image.open(out / name) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.iterdir()}
    manifest = read_json(out / "manifest.json")
    assert manifest["files"] == [
        {"file_name": "000.png", "source": "a.jpg", "sha256": sums["a.jpg"], "width": 80, "height": 120},
        {"file_name": "001.png", "source": "b.png", "sha256": sums["b.png"], "width": 120, "height": 80},
    ]
    assert (manifest["count"], manifest["source"]) == (2, str(photos))
    assert manifest["quarantined"] == [{"file": "c.png", "reason": "no image in it, whatever its name says"}]


def test_the_same_photos_give_the_same_bytes_and_other_names_the_same_digest(photos, tmp_path, scene):
    prepare_photos(photos, tmp_path / "one", config=config(photos))
    prepare_photos(photos, tmp_path / "two", config=config(photos))
    assert digest_of_folder(tmp_path / "one") == digest_of_folder(tmp_path / "two")
    before = read_json(tmp_path / "one" / "manifest.json")["digest"]
    (photos / "b.png").rename(photos / "0.png")
    prepare_photos(photos, tmp_path / "two", config=config(photos))
    assert read_json(tmp_path / "two" / "manifest.json")["digest"] == before
    scene(2).save(photos / "d.png")
    prepare_photos(photos, tmp_path / "two", config=config(photos))
    assert read_json(tmp_path / "two" / "manifest.json")["digest"] != before


def test_a_photo_may_be_enlarged_fourfold_at_most(photos, tmp_path):
    prepare_photos(photos, tmp_path / "out", config=config(photos, image_size=320))
    with pytest.raises(ValueError, match="at least 82 pixels"):
        prepare_photos(photos, tmp_path / "out", config=config(photos, image_size=328))


def test_captions_beside_the_photos_are_taken(photos, tmp_path):
    lines = [{"file_name": "a.jpg", "text": "a sks dog on grass"}, {"file_name": "b.png", "text": "unused sks"}]
    (photos / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (photos / "b.txt").write_text("SKS dog,\nindoors\n", encoding="utf-8-sig")
    prepare_photos(photos, tmp_path / "out", config=config(photos))
    assert [record.text for record in read_image_records(tmp_path / "out")] == [
        "a sks dog on grass",
        "SKS dog, indoors",
    ]
    (photos / "b.txt").write_text(" \n")
    prepare_photos(photos, tmp_path / "out", config=config(photos))
    assert read_image_records(tmp_path / "out")[1].text == "a photo of sks dog"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: it is not JSON"),
        ("[1]", "line 1: it has no file_name"),
        ('{"file_name": "x.jpg", "text": "sks"}', r"x\.jpg is not in the folder"),
        ('{"file_name": "a.jpg", "text": 3}', "text = 3"),
        ('{"file_name": "a.jpg", "text": "a dog"}', "add the identifier 'sks'"),
    ],
)
def test_wrong_captions_are_named(line, message, photos, tmp_path):
    (photos / "metadata.jsonl").write_text(line)
    with pytest.raises(ValueError, match=message):
        prepare_photos(photos, tmp_path / "out", config=config(photos))
    (photos / "metadata.jsonl").unlink()
    (photos / "a.txt").write_bytes(b"sks \xff")
    with pytest.raises(ValueError, match="not UTF-8"):
        prepare_photos(photos, tmp_path / "out", config=config(photos))


def test_a_full_disk_leaves_no_partial_artifact(photos, tmp_path, monkeypatch):
    def save(self, path, *args, **kwargs):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match=r"free some space and run again.*/out'") as error:
        prepare_photos(photos, tmp_path / "work" / "out", config=config(photos))
    assert error.value.errno == errno.ENOSPC
    assert not list((tmp_path / "work").iterdir())


def test_the_component_reads_a_folder_and_an_archive_alike(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("AELIF_EVENTS", str(tmp_path / "events.jsonl"))
    archive = shutil.make_archive(str(tmp_path / "dog"), "zip", photos)
    for number, source in enumerate((str(photos), archive)):
        output = type("Output", (), {"path": str(tmp_path / f"out{number}" / "photos")})()
        data = {**to_dict(config(source)), "image_size": 64.0}
        prepare_data.python_func(data=data, fingerprint="f", photos=output, code_version="c")
    digests = [read_json(tmp_path / f"out{n}" / "photos" / "manifest.json")["digest"] for n in (0, 1)]
    assert digests[0] == digests[1]
    events = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events == ["start", "end"] * 2
