"""The miniatures' pretraining: it resumes exactly, and its captions say what the scenes show."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from aelif.models.miniature.data import draw_scenes, read_scenes, write_scenes
from aelif.models.miniature.loop import pretrain
from aelif.models.miniature.pretrain_text import GROUNDS, mentions, slip
from aelif.models.miniature.scenes import BACKGROUNDS, FONT, OBJECTS, PLACES, TINTS, caption, sample_scene
from aelif.models.miniature.tokenizer import write_tokenizer
from aelif.randomness import numpy_generator, torch_generator


class StoppedError(Exception):
    pass


def train(folder: Path, *, stop_at: int | None = None) -> torch.Tensor:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)

    def loss_of_step(step: int) -> torch.Tensor:
        if step == stop_at:
            raise StoppedError
        return model(torch.randn(4, 3, generator=torch_generator(0, "test", step))).square().mean()

    pretrain(model, loss_of_step, folder=folder, steps=8, learning_rate=0.1, save_every=2)
    return model.weight.detach()


def test_interrupted_pretraining_ends_with_the_same_bits(tmp_path: Path):
    whole = train(tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(tmp_path / "parts", stop_at=5)
    assert torch.equal(train(tmp_path / "parts"), whole)


def test_captions_mention_what_the_scene_shows_or_nothing():
    for index in range(300):
        generator = numpy_generator(0, "test", index)
        scene = sample_scene(generator)
        thing, tint, ground = mentions(caption(scene, generator))
        assert list(OBJECTS)[thing] == scene.object
        assert tint == len(TINTS) or list(TINTS)[tint] == scene.tint
        assert ground == len(GROUNDS) or [*BACKGROUNDS, *PLACES][ground] == scene.background


@given(st.text("abcdef ", min_size=2, max_size=20), st.integers(0, 1000))
def test_a_slip_is_one_small_edit(text: str, seed: int):
    slipped = slip(text, numpy_generator(seed, "test"))
    assert abs(len(slipped) - len(text)) <= 1
    assert set(slipped) <= set(text)


def test_the_cut_vocabulary_splits_words_as_clip_does(tmp_path: Path):
    tokenizer = write_tokenizer(tmp_path, max_tokens=77)
    assert tokenizer.tokenize("a photo") == ["a</w>", "photo</w>"]
    assert tokenizer.tokenize("a poto") == ["a</w>", "po", "to</w>"]
    assert len(tokenizer) == 512 + 3500 + 2


@pytest.mark.skipif(not FONT.exists(), reason="drawing scenes needs Debian's fonts-noto-color-emoji")
def test_scenes_depend_on_seed_split_and_number_alone(tmp_path: Path):
    data = draw_scenes(3, seed=1, split="a")
    write_scenes(tmp_path, data)
    again = read_scenes(tmp_path)
    assert (again.images == draw_scenes(4, seed=1, split="a").images[:3]).all()
    assert again.scenes == data.scenes
    assert (draw_scenes(3, seed=2, split="a").images != data.images).any()
