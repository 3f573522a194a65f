"""The packaged miniatures keep their pass marks on scenes that pretraining never saw."""

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


@pytest.fixture(scope="module")
def judge() -> quality.Judge:
    return quality.Judge()


def test_the_autoencoder_keeps_objects_recognisable(judge: quality.Judge):
    decoded = quality.reconstruct(quality.load_generator(), HELD_OUT.images)
    assert quality.psnr(HELD_OUT.images, decoded) >= 22
    assert judge.object_accuracy(decoded, [scene.object for scene in HELD_OUT.scenes]) >= 0.7


def test_the_scorer_names_objects_and_finds_captions(judge: quality.Judge):
    assert judge.object_accuracy(HELD_OUT.images, [scene.object for scene in HELD_OUT.scenes]) >= 0.7
    captions = [texts[0] for texts in HELD_OUT.captions]
    assert judge.caption_accuracy(HELD_OUT.images, captions) >= 0.5


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_generated_images_show_what_clean_prompts_say(name: str, judge: quality.Judge):
    prompts, objects = quality.clean_prompts()
    images = quality.generate(quality.load_generator(name), prompts[::2], seed=1, steps=16)
    assert images.shape[1:] == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert judge.object_accuracy(images, objects[::2]) >= 0.5 > 10 * CHANCE


def test_the_miniatures_are_small_and_half_precision():
    from safetensors import safe_open

    files = list(WEIGHTS.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 65e6
    for path in files:
        with safe_open(path, "np") as file:
            kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (no mapping)
        assert kinds <= {"F16", "I64", "BOOL"}, path


def test_the_card_tells_the_measured_figures():
    figures = read_json(WEIGHTS / "quality.json")
    card = (WEIGHTS.parent / "MODEL_CARD.md").read_text()
    shares = [figures["scorer_object_accuracy"], *figures["generated_object_accuracy"].values()]
    for figure in (figures["autoencoder_psnr_db"], *(100 * share for share in shares)):
        assert f"{figure:.1f}" in card


def test_psnr_of_a_known_error():
    import numpy as np

    black = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    assert quality.psnr(black, black + 255) == pytest.approx(0.0)
    assert quality.psnr(black, black + 51) == pytest.approx(13.979, abs=1e-3)  # 20·log10(5)
