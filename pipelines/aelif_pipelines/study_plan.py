"""The registered study (docs/study/protocol.md) as a plan: settings are chosen on one subject, judged on others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aelif.config import (
    OptimizerConfig,
    PromptConfig,
    RunConfig,
    SynthesisConfig,
)
from aelif_pipelines.recipes import MINIATURE_TRAIN, on_sd3, shipped, with_baseline

TRAINED = ("keyboard", "insert", "repeat", "swap", "spacing", "word_repeat")
"""Families of the misspelt prompts that augmentations read; scored in neither stage."""
TUNED = ("delete", "substitute", "word_drop")
"""Families that settings are chosen by."""
HELD_OUT_ERRORS = ("paper", "misspelling", "keyboard_azerty", "keyboard_dvorak", "ocr", "homoglyph")
"""Families of the primary outcome."""
REWORDINGS = ("preposition", "agreement", "tense", "synonym", "paraphrase")
"""Held-out families that are no errors of spelling: reported apart."""

HALF, LOW = "@class_prompts=false", "@class_prompts=false@timesteps=low"
"""Options of a term: one half of the batch augmented, and that at low noise levels alone."""
GRID = (
    "aelif_mask:0.1", f"aelif_mask:0.1{HALF}", f"aelif_mask:0.3{HALF}",
    f"aelif_mask:0.3@eligible=content@pooled=true{HALF}",
    "aelif_noise_conv:0.1", f"aelif_noise_conv:0.1{HALF}", f"aelif_noise_conv:0.3{HALF}",
    f"aelif_noise_conv:0.3@eligible=content@pooled=true{HALF}",
    "string_augmentation:0.2", f"string_augmentation:0.2{HALF}", f"string_augmentation:0.4{HALF}",
    f"typo_shift:0.2{HALF}", f"typo_shift:0.2{LOW}", f"typo_shift:0.4{LOW}", f"typo_noise:0.7{LOW}",
    f"aelif_noise_conv:0.5{HALF}", f"aelif_noise_conv:0.3{LOW}", f"typo_shift:0.2{LOW}+aelif_noise_conv:0.3{HALF}",
    f"typo_shift:0.3{HALF}@string_scope=identifier", f"typo_shift:0.3{HALF}@string_scope=subject",
    f"typo_shift:0.3{HALF}@string_scope=identifier+aelif_noise_conv:0.3{LOW}",
    f"typo_shift:0.3{HALF}@string_scope=identifier+aelif_noise_conv:0.1{HALF}",
)  # fmt: skip
"""What settings are chosen from."""
ONE_SETTING = ("cep:1", "neftune:5", "caption_dropout:0.1")
"""Rivals as their papers set them: nothing to choose."""
CHOSEN = (
    "aelif_mask:0.1", "aelif_noise_conv:0.1", f"string_augmentation:0.2{HALF}",
    f"typo_shift:0.3{HALF}@string_scope=identifier", f"typo_noise:0.7{LOW}",
    f"typo_shift:0.3{HALF}@string_scope=identifier+aelif_noise_conv:0.3{LOW}",
)  # fmt: skip
"""What is judged: of each augmentation the setting that the protocol's rule chose (docs/study/results/summary.json)."""
SIDE_GRID = CHOSEN[:-1]
"""What is tried with other ways of training."""
READINGS = (
    f"aelif_noise_conv:0.3@noise_std=0.5{HALF}", f"aelif_noise_conv:0.3@noise_mean=0.5{HALF}",
    f"aelif_noise_conv:0.3@eligible=content{HALF}", f"aelif_noise_conv:0.3@pooled=true{HALF}",
    "aelif_mask:0.1@eligible=content", "aelif_mask:0.1@pooled=true",
    "aelif_mask:0.2", "aelif_mask:0.2@eligible=content",
)  # fmt: skip
"""AELIF with one thing changed against a setting of the grid (the last: of these): μ, σ, eligible tokens, pooled. Not
chosen from. A tenth of a prompt's words is no whole token, so `aelif_mask:0.1@eligible=content` does nothing."""

SUBJECTS = ("dog", "car")

TRAIN = replace(MINIATURE_TRAIN, augmentation=replace(MINIATURE_TRAIN.augmentation, string_families=TRAINED))
"""The training of every variant; fixed by looking at baselines of the backpack."""


def study_tuning() -> dict[str, RunConfig]:
    """First stage of the registered study, on both miniatures: settings are chosen on the backpack; an hour or two."""
    base = _base("backpack", GRID, families=TUNED, seeds=(0, 1))
    side = replace(base, variants=with_baseline(*SIDE_GRID), seeds=(0,))
    full = {"method": "full", "optimizer": OptimizerConfig(learning_rate=3e-4)}
    return {
        **_on_both("tuning", base),
        **_on_both("full", side, **full),
        **_on_both("no-prior", side, prior_preservation=False),
        **_on_both("readings", replace(base, variants=with_baseline(*READINGS))),
    }


def study() -> dict[str, RunConfig]:
    """Second stage of the registered study, on both miniatures: what was chosen is judged on dog and car; hours."""
    families, seeds = (*HELD_OUT_ERRORS, *REWORDINGS), (10, 11, 12, 13, 14)
    parts: dict[str, RunConfig] = {}
    for subject in SUBJECTS:
        parts |= _on_both(subject, _base(subject, (*ONE_SETTING, *CHOSEN), families=families, seeds=seeds))
    return parts


def _on_both(name: str, config: RunConfig, **train: Any) -> dict[str, RunConfig]:
    """Return a part on both families of models, each trained as it needs but for `train`, with a name of its own."""
    own = replace(config, gate=replace(config.gate, model_name=f"aelif-study-{name}"))
    parts = {f"{name}-sdxl": own, f"{name}-sd3": on_sd3(own)}
    return {part: replace(each, train=replace(each.train, **train)) for part, each in parts.items()}


def _base(subject: str, variants: tuple[str, ...], *, families: tuple[str, ...], seeds: tuple[int, ...]) -> RunConfig:
    """Return what all parts share."""
    return RunConfig(
        data=shipped(subject),
        variants=with_baseline(*variants),
        seeds=seeds,
        train=TRAIN,
        prompts=PromptConfig(
            templates=(
                "a photo of {subject}", "a picture of {subject}", "an image of {subject}",
                "a close-up photo of {subject}",
            ),
            families=families,
            class_errors=True,
        ),
        synthesis=SynthesisConfig(images_per_prompt=3, steps=10, guidance_scale=3.0),
    )  # fmt: skip
