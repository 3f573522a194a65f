"""Ready-made runs: functions that return a full configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from aelif.config import DataConfig, PromptConfig, RunConfig, SynthesisConfig, TrainConfig, nearest

EXAMPLES = Path(__file__).parent / "examples"
"""Subjects that come with the package."""


def quickstart() -> RunConfig:
    """The shipped backpack on the miniature: baseline and both AELIF augmentations, in minutes on two cores."""
    return RunConfig(
        data=DataConfig(
            instance_images=str(EXAMPLES / "backpack"),
            instance_prompt="a photo of sks backpack",
            class_prompt="a photo of a backpack",
        ),
        prompts=PromptConfig(
            templates=(
                "a photo of {subject}",
                "a picture of {subject}",
                "an image of {subject}",
                "a close-up photo of {subject}",
            )
        ),
        train=TrainConfig(method="full", learning_rate=5e-4, steps=350),
        synthesis=SynthesisConfig(images_per_prompt=5, steps=10, guidance_scale=3.0),
    )


def smoke() -> RunConfig:
    """The same path in seconds: too short to learn anything, long enough to meet every step."""
    config = quickstart()
    return replace(
        config,
        seeds=(0,),
        prompts=replace(config.prompts, templates=("a photo of {subject}",), families=("paper", "delete")),
        train=replace(config.train, steps=4, class_images=4, crops=1, checkpoint_every=2),
        synthesis=replace(config.synthesis, images_per_prompt=2, steps=4),
        score=replace(config.score, resamples=200),
        gate=replace(config.gate, max_clean_distance=2.0, min_prompt_alignment=-1.0),
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {"quickstart": quickstart, "smoke": smoke}


def recipe(name: str) -> RunConfig:
    """Return the configuration of a named recipe.

    Raises:
        ValueError: if there is no such recipe; names the nearest.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe = {name!r}: no such recipe; {nearest(name, RECIPES)}")
    return RECIPES[name]()
