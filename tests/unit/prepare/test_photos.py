"""The image folder that training reads: pixels, captions, subjects, manifest, and a disk that is full."""

import errno
import hashlib
import json
import shutil

import pytest
from PIL import Image

from aelif.artifacts import SCORED_SUBJECT, ImageRecord, digest_of_folder, read_image_records, read_json
from aelif.config import DataConfig, Subject, to_dict
from aelif.prepare.component import prepare_data
from aelif.prepare.photos import prepare_photos, read_subject
from aelif.progress import StepProgress

QUIET = StepProgress("prepare_data", "test")


@pytest.fixture
def photos(tmp_path, scene):
    folder = tmp_path / "photos"
    folder.mkdir()
    scene(0, (120, 80)).save(folder / "b.png")
    scene(1, (80, 120)).save(folder / "a.jpg", quality=95)
    (folder / "c.png").write_text("no image")
    return folder


@pytest.fixture
def cats(tmp_path, scene):
    folder = tmp_path / "cats"
    folder.mkdir()
    for seed, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        scene(10 + seed, (90, 90)).save(folder / name, quality=95)
    (folder / "b.txt").write_text("a zwx cat on a sofa")
    return folder


def config(folder, *others, **fields) -> DataConfig:
    prompts = {"instance_prompt": "a photo of sks dog", "class_prompt": "a photo of a dog"}
    more = tuple(
        Subject(instance_images=str(other), instance_prompt="a photo of zwx cat", class_prompt="a photo of a cat")
        for other in others
    )
    return DataConfig(instance_images=str(folder), more_subjects=more, **prompts, **fields)


def prepare(output, *folders, progress=QUIET, **fields):
    data = config(*folders, **fields)
    prepare_photos(folders, output, config=data, progress=progress)
    return read_image_records(output)


def test_the_folder_holds_what_the_contract_says(photos, tmp_path):
    out = tmp_path / "out"
    assert prepare(out, photos) == [
        ImageRecord(file_name=name, text="a photo of sks dog", width=64, height=64) for name in ("000.png", "001.png")
    ]
    assert sorted(path.name for path in out.iterdir()) == ["000.png", "001.png", "manifest.json", "metadata.jsonl"]
    for name in ("000.png", "001.png"):
        with Image.open(out / name) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.iterdir()}
    manifest = read_json(out / "manifest.json")
    subject = manifest["subjects"][0]
    assert subject["files"] == [
        {"file_name": "000.png", "source": "a.jpg", "sha256": sums["a.jpg"], "width": 80, "height": 120},
        {"file_name": "001.png", "source": "b.png", "sha256": sums["b.png"], "width": 120, "height": 80},
    ]
    assert subject["quarantined"] == [{"file": "c.png", "reason": "no image in it, whatever its name says"}]
    assert (manifest["count"], manifest["source"], len(manifest["subjects"])) == (2, str(photos), 1)
    assert (subject["identifier"], subject["source"], subject["count"]) == ("sks", str(photos), 2)
    assert manifest["digest"] == subject["digest"]


def test_subjects_share_a_folder_and_stay_apart(photos, cats, tmp_path):
    records = prepare(tmp_path / "out", photos, cats)
    assert [(record.file_name, record.subject, record.text) for record in records] == [
        ("000.png", 0, "a photo of sks dog"),
        ("001.png", 0, "a photo of sks dog"),
        ("002.png", 1, "a photo of zwx cat"),
        ("003.png", 1, "a zwx cat on a sofa"),
        ("004.png", 1, "a photo of zwx cat"),
    ]
    assert read_image_records(tmp_path / "out", subject=SCORED_SUBJECT) == records[:2]
    assert read_image_records(tmp_path / "out", subject=1) == records[2:]
    for record in records:  # each file shows its own subject's photo
        folder, number = (photos, 0) if record.subject == 0 else (cats, 2)
        source = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
        with (
            Image.open(source[int(record.file_name[:3]) - number]) as photo,
            Image.open(tmp_path / "out" / record.file_name) as image,
        ):
            means = [picture.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
                     for picture in (photo.crop(_square(photo.size)), image)]  # fmt: skip
        assert max(abs(one - other) for one, other in zip(*means, strict=True)) <= 3
    prepare(tmp_path / "dogs", photos)
    alone = read_json(tmp_path / "dogs" / "manifest.json")
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert [entry["identifier"] for entry in manifest["subjects"]] == ["sks", "zwx"]
    assert [len(entry["quarantined"]) for entry in manifest["subjects"]] == [1, 0]
    assert [entry["count"] for entry in manifest["subjects"]] == [2, 3]
    assert manifest["subjects"][0]["digest"] == alone["digest"] != manifest["digest"]
    assert (manifest["count"], manifest["source"]) == (5, str(photos))


def _square(size):
    side = min(size)
    left, top = ((length - side) // 2 for length in size)
    return left, top, left + side, top + side


def test_a_caption_names_the_subject_of_its_folder(photos, cats, tmp_path):
    (cats / "c.txt").write_text("a sks dog")
    with pytest.raises(ValueError, match=r"cats/c\.txt: the caption 'a sks dog' lacks the identifier; add 'zwx'"):
        prepare(tmp_path / "out", photos, cats)
    assert not (tmp_path / "out").exists()


def test_photos_keep_about_their_ratio_in_buckets(photos, cats, tmp_path, scene):
    scene(20, (100, 33)).save(photos / "d.png")
    records = prepare(tmp_path / "out", photos, cats, aspect_buckets=True)
    sizes = [(record.width, record.height) for record in records]
    assert sizes == [(48, 80), (80, 48), (80, 48), (64, 64), (64, 64), (64, 64)]
    for record in records:
        with Image.open(tmp_path / "out" / record.file_name) as image:
            assert image.size == (record.width, record.height)


def test_the_same_photos_give_the_same_bytes_and_other_names_the_same_digest(photos, tmp_path, scene):
    prepare(tmp_path / "one", photos)
    prepare(tmp_path / "two", photos)
    assert digest_of_folder(tmp_path / "one") == digest_of_folder(tmp_path / "two")
    before = read_json(tmp_path / "one" / "manifest.json")["digest"]
    (photos / "b.png").rename(photos / "0.png")
    prepare(tmp_path / "two", photos)
    assert read_json(tmp_path / "two" / "manifest.json")["digest"] == before
    scene(2).save(photos / "d.png")
    prepare(tmp_path / "two", photos)
    assert read_json(tmp_path / "two" / "manifest.json")["digest"] != before


def test_a_photo_may_be_enlarged_fourfold_at_most(photos, tmp_path):
    prepare(tmp_path / "out", photos, image_size=320)
    with pytest.raises(ValueError, match="at least 82 pixels"):
        prepare(tmp_path / "out", photos, image_size=328)


def test_too_few_photos(photos, cats, tmp_path, scene):
    (photos / "b.png").write_bytes((photos / "a.jpg").read_bytes())
    message = (
        r"instance_images = '.*photos': only a\.jpg can be used; b\.png: duplicate: the same file as a\.jpg; "
        r"c\.png: no image.*give at least 2 photos, better 4 to 20"
    )
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "out", photos)
    (cats / "b.txt").unlink()
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "out", cats, photos)
    (photos / "a.jpg").unlink()
    (photos / "b.png").unlink()
    (photos / "c.png").unlink()
    with pytest.raises(ValueError, match=r"photos: no usable photo \(it has no image\)"):
        prepare(tmp_path / "out", photos)
    (photos / "a.txt").write_text("a sks dog")
    with pytest.raises(ValueError, match=r"no usable photo \(it has captions but no image\)"):
        prepare(tmp_path / "out", photos)


def test_messages_name_the_source_and_not_where_it_was_unpacked(photos, tmp_path):
    subject = Subject(
        instance_images="s3://bucket/dogs.zip", instance_prompt="a photo of sks dog", class_prompt="a photo of a dog"
    )
    (photos / "x.txt").write_text("a sks dog")
    for action, message in [
        (lambda: None, r"^s3://bucket/dogs\.zip/x\.txt: there is no photo"),
        ((photos / "b.png").unlink, r"^instance_images = 's3://bucket/dogs\.zip': only"),
        ((photos / "a.jpg").unlink, r"^s3://bucket/dogs\.zip: no usable photo"),
    ]:
        action()
        with pytest.raises(ValueError, match=message):
            read_subject(photos, subject, image_size=64)


def test_a_full_disk_leaves_no_partial_artifact(photos, tmp_path, monkeypatch):
    def save(self, path, *args, **kwargs):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match=r"free some space and run again.*/out'") as error:
        prepare(tmp_path / "work" / "out", photos)
    assert error.value.errno == errno.ENOSPC
    assert not list((tmp_path / "work").iterdir())


def test_the_component_reads_folders_and_archives_alike(photos, cats, tmp_path, monkeypatch):
    monkeypatch.setenv("AELIF_EVENTS", str(tmp_path / "events.jsonl"))
    archives = [shutil.make_archive(str(tmp_path / folder.name), "zip", folder) for folder in (photos, cats)]
    for number, sources in enumerate(([photos, cats], archives)):
        output = type("Output", (), {"path": str(tmp_path / f"out{number}" / "photos")})()
        data = {**to_dict(config(*sources)), "image_size": 64.0}
        prepare_data.python_func(data=data, fingerprint="f", photos=output, code_version="c")
    digests = [read_json(tmp_path / f"out{n}" / "photos" / "manifest.json")["digest"] for n in (0, 1)]
    assert digests[0] == digests[1]
    assert read_image_records(tmp_path / "out0" / "photos") == read_image_records(tmp_path / "out1" / "photos")
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "progress"]
    assert kinds == ["start", "warning", "end"] * 2
    assert "photos: 1 of 3 files are not used (c.png: no image" in events[1]["message"]
    assert [event["done"] for event in events if event["event"] == "progress"][-1] == 5
