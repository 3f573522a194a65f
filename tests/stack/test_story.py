"""The life of one model on PostgreSQL and S3: poor photos, better ones, bad ones, a rollback that stays."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image, ImageEnhance, ImageFilter
from tests.pipelines.photos import PROMPTS

from aelif.artifacts import read_json
from aelif.randomness import numpy_generator
from aelif.storage import EXAMPLES
from aelif_pipelines.display import EventTail
from aelif_pipelines.stack import status

NAME = "aelif-story"
REFERENCE, TRAINED = (2, 5), (0, 1, 3, 4)
"""Shipped photos that the model is measured against, and those that it may be trained on."""
SETTINGS = {
    "gate.model_name": NAME,
    "gate.max_clean_distance": 1.6,  # the poor first model passes: the story is about what comes after
    "gate.min_prompt_alignment": -1,
    "train.method": "full",
    "train.optimizer.learning_rate": 5e-4,
    "train.ema_decay": 0.0,
    "train.prior_weight": 1.0,
    "train.steps": 70,
    "train.class_images": 8,
    "train.crops": 2,
    "train.checkpoint_every": 100,
    "prompts.templates": ["a photo of {subject}", "a picture of {subject}", "an image of {subject}",
                          "a close-up photo of {subject}"],
    "prompts.families": ["spacing", "punctuation"],
    "prompts.ask_class": False,
    "synthesis.images_per_prompt": 3,
    "synthesis.steps": 6,
    "score.resamples": 1000,
}  # fmt: skip


def shipped(number: int) -> Image.Image:
    with Image.open(EXAMPLES / "backpack" / f"{number:02}.jpg") as image:
        return image.convert("RGB")


def dark_and_out_of_focus(image: Image.Image) -> Image.Image:
    grey = image.filter(ImageFilter.GaussianBlur(16)).convert("L").convert("RGB")
    return ImageEnhance.Brightness(grey).enhance(0.4)


def noise(number: int) -> Image.Image:
    pixels = numpy_generator(0, "noise photo", number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@dataclass(frozen=True)
class Done:
    """One command that ended well."""

    text: str
    steps: frozenset[str]
    summary: dict[str, Any]

    @property
    def registered(self) -> tuple[str, str]:
        """Version and what became of it."""
        return self.summary["registry"]["version"], self.summary["registry"]["outcome"]


class Keeper:
    """Puts photos into the folder that the schedule reads, and retrains."""

    def __init__(self, aelif: Callable[..., Any], uri: str, folder: Path) -> None:
        self.aelif, self.uri, self.folder = aelif, uri, folder
        self.client = MlflowClient(uri)

    @property
    def output(self) -> Path:
        return self.folder / "run"

    def put(self, images: Sequence[Image.Image], folder: str = "photos") -> Path:
        place = self.folder / folder
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for number, image in enumerate(images):
            image.save(place / f"{number:02}.png")
        return place

    def command(self, *arguments: str) -> Done:
        process = self.aelif(*arguments)
        text, _ = process.communicate()
        log = self.output / "run.log"
        assert process.returncode == 0, text + (log.read_text()[-4000:] if log.exists() else "")
        events = EventTail(self.output / "work" / "events.jsonl").new_events()
        summary = read_json(self.output / "summary.json")
        return Done(" ".join(text.split()), frozenset(event["step"] for event in events), summary)

    def retrain(self, *more: str) -> Done:
        settings = [f"--set={key}={json.dumps(value)}" for key, value in SETTINGS.items()]
        return self.command(
            "run", "retrain", "--smoke", "--variants", "baseline", "--output", str(self.output), "--tracking-uri",
            self.uri, "--instance-images", str(self.folder / "photos"),
            *PROMPTS, f"--set=data.reference_images={self.folder / 'reference'}", *settings, *more,
        )  # fmt: skip

    def champion(self) -> str:
        return str(self.client.get_model_version_by_alias(NAME, "champion").version)

    def tags(self, version: str) -> dict[str, str]:
        return self.client.get_model_version(NAME, version).tags


@pytest.fixture
def keeper(aelif: Callable[..., Any], stack_folder: Path, tmp_path: Path) -> Keeper:
    stack = status(stack_folder)
    assert stack is not None
    return Keeper(aelif, stack.tracking_uri, tmp_path)


@pytest.mark.e2e
def test_a_model_is_made_improved_defended_and_taken_back(keeper: Keeper):
    keeper.put([shipped(number) for number in REFERENCE], "reference")
    keeper.put([dark_and_out_of_focus(shipped(number)) for number in TRAINED[:2]])
    first_run_makes_the_champion(keeper)
    keeper.put([shipped(number) for number in TRAINED])
    better_photos_replace_it(keeper)
    nothing_new_ends_early(keeper)
    keeper.put([noise(number) for number in range(4)])
    bad_photos_are_refused(keeper)
    a_person_takes_it_back(keeper)
    keeper.put([shipped(number) for number in TRAINED])
    the_rollback_stays(keeper)


def first_run_makes_the_champion(keeper: Keeper) -> None:
    done = keeper.retrain()
    assert done.summary["champion"] is None
    assert done.summary["verdict"]["action"] == "promote"
    assert done.registered == ("1", "promoted")
    assert keeper.champion() == "1"
    assert keeper.tags("1")["gate.verdict"] == "passed"
    assert keeper.tags("1")["champion.replaced"] == "none"


def better_photos_replace_it(keeper: Keeper) -> None:
    """The champion is measured in the same run, on the same prompts."""
    done = keeper.retrain()
    assert "champion" in done.steps
    assert done.summary["champion"]["version"] == "1"
    (duel,) = done.summary["duels"].values()
    assert duel["improvement"]["low"] > 0
    verdict = done.summary["verdict"]
    assert (verdict["action"], verdict["against"]) == ("promote", "1")
    assert done.registered == ("2", "promoted")
    assert keeper.champion() == "2"
    tags = keeper.tags("2")
    assert tags["gate.verdict"] == "passed"
    assert (tags["gate.against"], tags["champion.replaced"]) == ("1", "1")


def nothing_new_ends_early(keeper: Keeper) -> None:
    done = keeper.retrain()
    assert "Nothing to do" in done.text
    assert "version 2 is champion and keeps the limits" in done.text
    assert not {"train", "synthesize", "champion", "register"} & done.steps
    assert keeper.champion() == "2"


def bad_photos_are_refused(keeper: Keeper) -> None:
    done = keeper.retrain()
    verdict = done.summary["verdict"]
    assert (verdict["action"], verdict["against"]) == ("refuse", "2")
    assert done.registered == ("3", "rejected")
    assert verdict["reasons"][0] in done.text
    assert keeper.champion() == "2"
    refused = keeper.tags("3")
    assert refused["gate.verdict"] == "rejected"
    assert verdict["reasons"][0] in refused["gate.reasons"]


def a_person_takes_it_back(keeper: Keeper) -> None:
    rollback = ["rollback", NAME, "--expect", "2", "--tracking-uri", keeper.uri]
    keeper.command(*rollback)
    assert keeper.champion() == "1"
    assert keeper.tags("2")["gate.verdict"] == "rolled-back"
    keeper.command(*rollback)  # as after a lost connection
    assert keeper.champion() == "1"
    shown = keeper.command("history", NAME, "--tracking-uri", keeper.uri).text
    assert "rolled-back" in shown or "rolled back" in shown


def the_rollback_stays(keeper: Keeper) -> None:
    """Not even where a person asks for the training: it makes the same weights, which were taken back."""
    done = keeper.retrain()
    assert "Nothing to do" in done.text
    assert "was rolled back" in done.text
    assert keeper.retrain("--fresh").registered == ("2", "rolled-back")
    assert keeper.champion() == "1"
    assert keeper.tags("2")["gate.verdict"] == "rolled-back"
