"""Class images: what is kept, what is painted again, and that an interruption leaves no trace."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny import write_tiny_sdxl

from aelif.artifacts import digest_of_folder, read_image_records
from aelif.config import DataConfig, Subject, SynthesisConfig, TrainConfig, to_dict
from aelif.progress import StepProgress
from aelif.randomness import torch_generator
from aelif.synthesize import class_images
from aelif.synthesize.class_images import generate_class_images, is_blank
from aelif.synthesize.component import synthesize_class_images

PROGRESS = StepProgress("class_images", "test")
DATA = DataConfig(
    instance_images="photos", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
)
CAT = Subject(instance_images="cats", instance_prompt="a photo of zwx cat", class_prompt="a photo of a cat")
TWO = replace(DATA, more_subjects=(CAT,))
SYNTHESIS = SynthesisConfig(steps=2, batch_size=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("class") / "base")


def generate(base: Path, output: Path, *, count: int, data=DATA, synthesis=SYNTHESIS, seed=0, kept=None):
    records = generate_class_images(
        base=base, data=data, train=TrainConfig(class_images=count), synthesis=synthesis, seed=seed, output=output,
        progress=PROGRESS, checkpoint_dir=kept,
    )  # fmt: skip
    assert read_image_records(output) == records
    assert sorted(path.name for path in output.iterdir()) == [*(r.file_name for r in records), "metadata.jsonl"]
    return records


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of `sample` drew."""
    real, calls = class_images.sample, []

    def counted(adapter, condition, generators, **rest):
        calls.append(len(generators))
        return real(adapter, condition, generators, **rest)

    monkeypatch.setattr(class_images, "sample", counted)
    return calls


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The same as `drawn`, of a painter that turns noise into images right away."""
    calls = []

    def paint(adapter, condition, generators, *, image_size, **_):
        calls.append(len(generators))
        shape = (image_size, image_size, 3)
        noise = torch.stack([torch.randint(0, 256, shape, generator=generator) for generator in generators])
        return ((noise + len(condition[0])) % 256).to(torch.uint8)

    model = SimpleNamespace(
        family="fake", size_multiple=8, masks_attention=True, draw_times=lambda *_, **__: None,
        loss_weight=lambda *_, **__: None, null_condition=lambda rows: None, encode_text=lambda prompts: prompts,
        release=lambda *parts: None, prepare_sampling=lambda: None,
    )  # fmt: skip
    monkeypatch.setattr(class_images, "open_base", lambda *_, **__: model)
    monkeypatch.setattr(class_images, "sample", paint)
    return calls


def interrupt(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, after: int) -> None:
    """Let the function `name` fail at its call number `after` + 1."""
    real, calls = getattr(owner, name), []

    def failing(*arguments, **rest):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return real(*arguments, **rest)

    monkeypatch.setattr(owner, name, failing)


def test_the_folder(base: Path, tmp_path: Path, drawn):
    records = generate(base, tmp_path / "a", count=3)
    assert [(r.text, r.image_index, r.width, r.height) for r in records] == [
        (DATA.class_prompt, i, 64, 64) for i in range(3)
    ]
    assert len({(tmp_path / "a" / r.file_name).read_bytes() for r in records}) == 3
    generate(base, tmp_path / "b", count=3)
    assert digest_of_folder(tmp_path / "a") == digest_of_folder(tmp_path / "b")
    assert drawn == [2, 1, 2, 1], "nothing was kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_every_class_prompt_once(base: Path, tmp_path: Path, painted):
    same_class = replace(CAT, instance_prompt="a photo of ohwx cat", instance_images="others")
    records = generate(base, tmp_path / "a", count=3, data=replace(DATA, more_subjects=(CAT, same_class)))
    assert [(r.text, r.image_index) for r in records] == [
        (prompt, index) for prompt in (DATA.class_prompt, CAT.class_prompt) for index in range(3)
    ]
    contents = {r.file_name: (tmp_path / "a" / r.file_name).read_bytes() for r in records}
    assert len(contents) == len(set(contents.values())) == 6
    generate(base, tmp_path / "alone", count=3)
    assert all((tmp_path / "alone" / r.file_name).read_bytes() == (tmp_path / "a" / r.file_name).read_bytes()
               for r in records[:3]), "another subject changes nothing"  # fmt: skip


@pytest.mark.parametrize("place", ["in a batch", "while it is written"])
def test_an_interrupted_step_paints_only_what_is_missing(base: Path, tmp_path: Path, place, drawn, monkeypatch):
    generate(base, tmp_path / "unbroken", count=3, data=TWO)
    with monkeypatch.context() as context:
        if place == "in a batch":
            interrupt(context, class_images, "sample", after=2)
        else:
            interrupt(context, Image.Image, "save", after=4)
        with pytest.raises(KeyboardInterrupt):
            generate(base, tmp_path / "resumed", count=3, data=TWO, kept=tmp_path / "kept")
    assert not (tmp_path / "resumed").exists()
    assert len(list((tmp_path / "kept" / "class-images").rglob("*.png"))) == 3
    drawn.clear()
    generate(base, tmp_path / "resumed", count=3, data=TWO, kept=tmp_path / "kept")
    assert drawn == [2, 1]
    assert digest_of_folder(tmp_path / "resumed") == digest_of_folder(tmp_path / "unbroken")


def test_what_a_killed_step_left_half_written_is_painted_again(base: Path, tmp_path: Path, painted):
    generate(base, tmp_path / "a", count=2, kept=tmp_path / "kept")
    (batch,) = (tmp_path / "kept" / "class-images").glob("*/00000-00001")
    (batch / "00001.png").unlink()
    (batch / "00001.png").write_bytes(b"half")
    shutil.move(batch, batch.with_name(batch.name + ".partial"))
    generate(base, tmp_path / "b", count=2, kept=tmp_path / "kept")
    assert painted == [2, 2]
    assert digest_of_folder(tmp_path / "a") == digest_of_folder(tmp_path / "b")


def test_more_images_reuse_those_there_and_none_open_no_model(base: Path, tmp_path: Path, painted, monkeypatch):
    kept = tmp_path / "kept"
    generate(base, tmp_path / "four", count=4, kept=kept)
    generate(base, tmp_path / "six", count=6, kept=kept)
    assert painted == [2, 2, 2]
    monkeypatch.setattr(class_images, "open_base", None)
    generate(base, tmp_path / "again", count=6, kept=kept)
    assert digest_of_folder(tmp_path / "again") == digest_of_folder(tmp_path / "six")
    assert [r.image_index for r in generate(base, tmp_path / "three", count=3, kept=kept)] == [0, 1, 2]
    assert (tmp_path / "three" / "00002.png").read_bytes() == (tmp_path / "four" / "00002.png").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"synthesis": replace(SYNTHESIS, steps=3)},
        {"synthesis": replace(SYNTHESIS, guidance_scale=2.0)},
        {"data": replace(DATA, image_size=32)},
        {"data": replace(DATA, class_prompt="a picture of a backpack")},
        {"data": replace(DATA, max_sequence_length=77)},
    ],
)
def test_what_changes_the_images_keeps_them_apart(base: Path, tmp_path: Path, change, painted):
    kept = tmp_path / "kept"
    generate(base, tmp_path / "a", count=1, kept=kept)
    generate(base, tmp_path / "b", count=1, kept=kept, **change)
    assert painted == [1, 1]
    assert len(list((kept / "class-images").iterdir())) == 2
    generate(base, tmp_path / "c", count=1, kept=kept, synthesis=replace(SYNTHESIS, images_per_prompt=9, seed=5))
    assert painted == [1, 1], "settings of scoring do not matter"


def test_another_base_model_has_images_of_its_own(base: Path, tmp_path: Path, painted):
    other = write_tiny_sdxl(tmp_path / "other", prediction="v_prediction")
    for folder, digest in ((base, None), (other, None), (other, "d" * 64)):
        if digest:
            (folder / "source.json").write_text(json.dumps({"digest": digest}))
        generate(folder, tmp_path / f"{folder.name}{digest}", count=1, kept=tmp_path / "kept")
    assert painted == [1, 1, 1]
    assert len(list((tmp_path / "kept" / "class-images").iterdir())) == 3


def test_blank_images_are_drawn_again(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, calls = class_images.sample, []

    def first_is_black(adapter, condition, generators, **rest):
        pixels = real(adapter, condition, generators, **rest).clone()
        calls.append(len(generators))
        if len(calls) == 1:
            pixels[0] = 0
        return pixels

    monkeypatch.setattr(class_images, "sample", first_is_black)
    generate(base, tmp_path / "a", count=2)
    assert calls == [2, 1]
    assert np.asarray(Image.open(tmp_path / "a" / "00000.png")).std() > 2
    monkeypatch.setattr(class_images, "sample", lambda a, c, generators, **_: torch.zeros(len(generators), 64, 64, 3))
    with pytest.raises(ValueError, match=r"class_prompt = 'a photo of a backpack': .*blank images in 5 attempts.*turn"):
        generate(base, tmp_path / "b", count=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_is_blank():
    assert is_blank(torch.full((8, 8, 3), 255, dtype=torch.uint8))
    noise = torch.randint(0, 255, (8, 8, 3), generator=torch_generator(0, "x"))
    assert not is_blank(noise.to(torch.uint8))


def test_a_size_that_the_model_has_no_images_of(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(class_images, "open_base", lambda *_, **__: SimpleNamespace(family="fake", size_multiple=16))
    with pytest.raises(ValueError, match=r"image_size = 72: fake takes multiples of 16, such as 64"):
        generate(base, tmp_path / "a", count=1, data=replace(DATA, image_size=72))


def test_settings_that_training_would_refuse_are_refused_before_painting(base: Path, tmp_path: Path):
    train = TrainConfig(class_images=1, loss_weighting="cosmap")
    with pytest.raises(ValueError, match="loss_weighting = 'cosmap': it belongs to flow matching"):
        class_images.generate_class_images(
            base=base, data=DATA, train=train, synthesis=SYNTHESIS, seed=0, output=tmp_path / "a",
            progress=StepProgress("class_images", ""),
        )  # fmt: skip


def test_the_component_keeps_images_and_paints_none_without_prior(base: Path, tmp_path: Path, painted):
    def run(output: str, root: str, train: TrainConfig):
        folders = (SimpleNamespace(path=str(path)) for path in (base, tmp_path / output))
        source, images = folders
        synthesize_class_images.python_func(
            source, to_dict(TWO), to_dict(train), to_dict(SYNTHESIS), 0, root, images, "1"
        )
        return read_image_records(tmp_path / output)

    assert len(run("a", str(tmp_path / "root"), TrainConfig(class_images=2))) == 4
    assert len(list((tmp_path / "root" / "class-images").rglob("*.png"))) == 4
    assert len(run("b", "", TrainConfig(class_images=1))) == 2
    assert run("c", "", TrainConfig(prior_preservation=False)) == []
    assert painted == [2, 2, 1, 1]
