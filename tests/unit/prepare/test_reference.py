"""The photos that images are measured against."""

import shutil
from dataclasses import replace

import pytest

from aelif.artifacts import read_image_records, read_json
from aelif.config import DataConfig
from aelif.prepare.component import prepare_reference, read_fingerprints
from aelif.prepare.photos import prepare_photos
from aelif.prepare.reference import photo_fingerprints, write_reference
from aelif.progress import StepProgress

QUIET = StepProgress("prepare_reference", "test")


def folder_of(path, scene, seeds):
    path.mkdir()
    for seed in seeds:
        scene(seed, (90, 90)).save(path / f"{seed}.png")
    return path


@pytest.fixture
def data(tmp_path, scene) -> DataConfig:
    return DataConfig(
        instance_images=str(folder_of(tmp_path / "photos", scene, (0, 1, 2))),
        reference_images=str(folder_of(tmp_path / "measure", scene, (7, 8))),
        instance_prompt="a photo of sks dog", class_prompt="a photo of a dog",
    )  # fmt: skip


def prepared(data: DataConfig, tmp_path):
    output = tmp_path / "prepared"
    prepare_photos([tmp_path / "photos"], output, config=data, progress=QUIET)
    return output


def test_they_are_a_set_of_their_own(data, tmp_path):
    write_reference(prepared(data, tmp_path), tmp_path / "reference", config=data, progress=QUIET)
    manifest = read_json(tmp_path / "reference" / "manifest.json")
    assert [file["source"] for file in manifest["subjects"][0]["files"]] == ["7.png", "8.png"]
    assert len(read_image_records(tmp_path / "reference")) == 2


def test_without_any_they_are_the_training_photos(data, tmp_path):
    alone, photos = replace(data, reference_images=""), prepared(data, tmp_path)
    write_reference(photos, tmp_path / "reference", config=alone, progress=QUIET)
    names = {path.name for path in photos.iterdir()}
    assert {path.name for path in (tmp_path / "reference").iterdir()} == names
    assert all((tmp_path / "reference" / name).read_bytes() == (photos / name).read_bytes() for name in names)


def test_a_photo_that_is_trained_on_is_refused(data, tmp_path):
    shutil.copyfile(tmp_path / "photos" / "1.png", tmp_path / "measure" / "same.png")
    with pytest.raises(ValueError, match=r"reference_images = .*1 of them are trained on as well; take them out"):
        write_reference(prepared(data, tmp_path), tmp_path / "reference", config=data, progress=QUIET)


def test_fingerprints_change_with_their_own_photos_alone(data, tmp_path):
    before = photo_fingerprints(data)
    assert photo_fingerprints(replace(data, reference_images=""))[1] == ""
    (tmp_path / "measure" / "7.png").unlink()
    after = photo_fingerprints(data)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_the_steps(data, tmp_path):
    from types import SimpleNamespace

    from aelif.config import to_dict

    photos, output = prepared(data, tmp_path), tmp_path / "reference"
    prepare_reference.python_func(
        data=to_dict(data), fingerprint="x", photos=SimpleNamespace(path=str(photos)),
        reference=SimpleNamespace(path=str(output)), code_version="",
    )  # fmt: skip
    assert len(read_image_records(output)) == 2
    found = read_fingerprints.python_func(
        data=to_dict(data), base_model="builtin:miniature-sdxl", tracking={"tracking_uri": ""}, code_version=""
    )
    assert (found.photos, found.reference) == photo_fingerprints(data)
    assert found.base == ""
