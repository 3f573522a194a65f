"""The packaged miniatures keep their pass marks on scenes that pretraining never saw."""

from functools import cache
from pathlib import Path

import pytest

from aelif.artifacts import read_json
from aelif.models.miniature import quality
from aelif.models.miniature.architecture import IMAGE_SIZE
from aelif.models.miniature.data import read_scenes
from aelif.models.miniature.export import WEIGHTS
from aelif.models.miniature.scenes import OBJECTS

HELD_OUT = read_scenes(Path(__file__).parents[1] / "data" / "held_out")
CHANCE = 1 / len(OBJECTS)
SCORERS = pytest.mark.parametrize("scorer", ["clip", "clip-vit"])
MODELS = pytest.mark.parametrize("name", ["sdxl", "sd3"])


@cache
def judge(scorer: str = "clip") -> quality.Judge:
    return quality.Judge(scorer)


def test_the_autoencoder_keeps_objects_recognisable():
    decoded = quality.reconstruct(quality.load_generator(), HELD_OUT.images)
    assert quality.psnr(HELD_OUT.images, decoded) >= 24
    assert judge().object_accuracy(decoded, [scene.object for scene in HELD_OUT.scenes]) >= 0.8


@SCORERS
def test_the_scorers_name_objects_and_find_captions(scorer: str):
    shown = [scene.object for scene in HELD_OUT.scenes]
    assert judge(scorer).object_accuracy(HELD_OUT.images, shown) >= 0.75  # 80 % of 384 scenes; these are 64 of them
    captions = [texts[0] for texts in HELD_OUT.captions]
    assert judge(scorer).accuracy(HELD_OUT.images, captions, captions) >= 0.5


def test_the_scorers_differ_in_kind():
    shapes = [
        read_json(WEIGHTS / name / "open_clip_config.json")["model_cfg"]["vision_cfg"] for name in ("clip", "clip-vit")
    ]
    assert ["patch_size" in shape for shape in shapes] == [False, True], "one convolves, one attends"


@MODELS
def test_generated_images_show_what_clean_prompts_say(name: str):
    prompts, objects = quality.clean_prompts()
    images = quality.generate(quality.load_generator(name), prompts[::2], seed=1, steps=16)
    assert images.shape[1:] == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert judge().object_accuracy(images, objects[::2]) >= 0.7
    assert judge("clip-vit").object_accuracy(images, objects[::2]) >= 0.6


@MODELS
@pytest.mark.parametrize("what", ["tint", "background"])
def test_what_alone_changes_in_a_prompt_changes_in_the_image(name: str, what: str):
    group = quality.single_changes()[what][1]
    images = quality.generate(quality.load_generator(name), group, seed=2, steps=12)
    assert judge().accuracy(images, group, group) >= 0.6


def test_the_shipped_figures_pass_their_marks():
    figures = read_json(WEIGHTS / "quality.json")
    assert figures["autoencoder_psnr_db"] >= 24
    assert min(figures["scorer_object_accuracy"]) >= 0.8
    for name in ("sdxl", "sd3"):
        assert figures["generated_object_accuracy"][name][0] >= 0.7
        assert all(shares[0] >= 0.7 for shares in figures["changed_alone_accuracy"][name].values())


@MODELS
def test_a_miniature_is_small(name: str):
    assert sum(path.stat().st_size for path in (WEIGHTS / name).rglob("*") if path.is_file()) <= 25e6


def test_weights_are_half_precision():
    from safetensors import safe_open

    for path in WEIGHTS.rglob("*.safetensors"):
        with safe_open(path, "np") as file:
            kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (no mapping)
        assert kinds <= {"F16", "I64", "BOOL"}, path


def test_the_card_tells_the_measured_figures():
    figures = read_json(WEIGHTS / "quality.json")
    card = (WEIGHTS.parent / "MODEL_CARD.md").read_text()
    told = [*figures["scorer_object_accuracy"], *figures["scorer_caption_accuracy"]]
    told += [share for shares in figures["generated_object_accuracy"].values() for share in shares]
    told += [share for kinds in figures["changed_alone_accuracy"].values() for pair in kinds.values() for share in pair]
    for figure in (figures["autoencoder_psnr_db"], *(100 * share for share in told)):
        assert f"{figure:.1f}" in card


def test_psnr_of_a_known_error():
    import numpy as np

    black = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    assert quality.psnr(black, black + 255) == pytest.approx(0.0)
    assert quality.psnr(black, black + 51) == pytest.approx(13.979, abs=1e-3)  # 20·log10(5)
