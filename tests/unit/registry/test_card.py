"""The model card: every figure with its interval, nothing invented, never longer than MLflow keeps."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aelif.registry.card import MAX_LENGTH, NOT_MEASURED, write_card

TRIAL = "aelif_mask:0.3/seed=1"


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.1}


SUMMARY = {
    "variants": {
        "baseline": {"variant": "baseline", "clean": interval(0.6), "perturbed": interval(0.9), "families": {}},
        "aelif_mask": {
            "variant": "aelif_mask:0.3", "clean": interval(0.5), "perturbed": interval(0.7),
            "improvement_plain": interval(0.222), "improvement_excess": {"value": None, "low": None, "high": None},
            "clip_t": interval(0.3), "diversity": {"value": 0.4, "low": None, "high": None},
            "families": {"paper": {}, "keyboard": {}, "context": {}},
        },
    },
    "noise_floor": interval(0.25), "seeds": [0, 1.0], "num_reference": 5, "num_images_per_prompt": 4,
    "champion": {"version": "3", "clean": interval(0.55), "perturbed": interval(0.8)},
    "duels": {TRIAL: {"clean": interval(0.51), "perturbed": interval(0.71), "improvement": interval(0.11)}},
    "skipped": [{}, {}],
}  # fmt: skip
FACTS: dict[str, Any] = {
    "name": "dog",
    "trial": TRIAL,
    "verdict": {"action": "promote", "against": "3", "reasons": ["It is better.", "It keeps the limits."]},
    "summary": SUMMARY,
    "settings": {"data": {"instance_prompt": "a photo of sks dog"}, "train": {"method": "lora"}},
    "source": {"uri": "org/sdxl@" + "a" * 40, "digest": "d" * 64, "family": "sdxl"},
    "manifest": {
        "count": 6.0, "digest": "e" * 64, "source": "s3://photos/dog",
        "subjects": [{"source": "s3://photos/dog", "quarantined": [{"file": "x", "reason": "small"}]}],
    },
    "tags": {"git.sha": "f" * 40, "weights.sha256": "1" * 64},
}  # fmt: skip


def card(**changes: Any) -> str:
    return write_card(**{**FACTS, **changes})


def test_the_card_says_what_how_good_why_and_of_what():
    text = card()
    for expected in (
        "# dog\nA DreamBooth fine-tune of “a photo of sks dog”: a LoRA adapter",
        "`aelif_mask:0.3`",
        "training seed 1",
        "| clean prompts, distance ↓ | 0.500 | 0.450 to 0.600 |",
        "| improvement on the baseline, with errors ↑ | +22.2 % | +17.2 % to +32.2 % |",
        f"| share of the baseline's damage undone ↑ | {NOT_MEASURED} |  |",
        "| diversity ↑ | 0.400 |  |",
        "(means over training seeds 0, 1; 5 photos; 4 images per prompt; ",
        "a photo's own distance from the others is 0.250)",
        "champion of that day, version 3",
        "| prompts with errors ↓ | 0.710 (0.660 to 0.810) | 0.800 (0.750 to 0.900) |",
        "| improvement on prompts with errors ↑ | +11.0 % (+6.0 % to +21.0 %) | |",
        "It passes the gate, measured against version 3.\n- It is better.\n- It keeps the limits.",
        'mlflow.pyfunc.load_model("models:/dog@champion")',
        "mlflow models serve",
        "https://huggingface.co/org/sdxl.",
        "6 photos from `s3://photos/dog`, SHA-256 `eeeeeeeeeeee`; 1 refused.",
        "- to choose settings by: keyboard\n- held out, seen by no training: paper",
        "2 prompts could not be made",
        "- weights.sha256: `" + "1" * 64 + "`",
    ):
        assert expected in text
    assert text == card()


def test_what_is_missing_is_called_so():
    text = write_card(name="dog", trial="baseline/seed=0", verdict={}, summary={}, settings={}, source={}, manifest={},
                      tags={})  # fmt: skip
    assert text.count(NOT_MEASURED) == 4  # a baseline has no improvement on itself
    assert "the baseline" in text
    assert "None" not in text
    assert "nan" not in text
    assert "not recorded" in text


def test_verdicts_in_words():
    assert "does not pass the gate." in card(verdict={"action": "refuse", "against": None, "reasons": []})
    assert "waits for a person's approval" in card(verdict={"action": "challenge", "against": None, "reasons": []})
    many = card(verdict={"action": "refuse", "reasons": [f"reason {n}" for n in range(20)]})
    assert "- reason 5\n- and 14 more" in many


def test_licences_by_kind_of_base():
    assert "SIL Open Font License" in card(source={"uri": "builtin:miniature-sdxl"})
    for uri in ("s3://models/sdxl", "/models/sdxl", "models:/dog/3"):
        assert "the base model's own card" in card(source={"uri": uri})


@given(text=st.text(max_size=400), number=st.integers(0, 60))
def test_it_fits_and_its_tables_hold_whatever_people_write(text, number):
    reasons = [text + "|x" * 100] * number
    subjects = [{"source": text * 3, "quarantined": []}] * number
    written = card(
        verdict={"action": "refuse", "reasons": reasons}, manifest={"count": 1, "subjects": subjects, "source": text},
        settings={"data": {"instance_prompt": text}, "train": {}}, tags={"git.sha": text * 10},
    )  # fmt: skip
    assert len(written) <= MAX_LENGTH
    assert "| clean prompts, distance ↓ | 0.500 | 0.450 to 0.600 |" in written
    assert written.count("|x") == 0
