"""Ready-made runs: functions that return a full configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aelif.config import (
    HELD_OUT,
    TUNING,
    AttackConfig,
    AugmentationConfig,
    DataConfig,
    GateConfig,
    LoraConfig,
    OptimizerConfig,
    PromptConfig,
    RunConfig,
    ScoreConfig,
    SynthesisConfig,
    TrainConfig,
    Variant,
    expand_families,
    nearest,
)

_PROMPTS = PromptConfig(
    templates=(
        "a photo of {subject}",
        "a picture of {subject}",
        "an image of {subject}",
        "a close-up photo of {subject}",
    )
)


def shipped(subject: str) -> DataConfig:
    """Return the data of a subject whose photos the package ships: backpack, dog or car."""
    return DataConfig(
        instance_images=f"builtin:{subject}",
        instance_prompt=f"a photo of sks {subject}",
        class_prompt=f"a photo of a {subject}",
    )


# ── Miniatures: two CPU cores, minutes ─────────────────────────────────────────────────────────

MINIATURE_TRAIN = TrainConfig(
    steps=500,
    prior_weight=0.3,
    ema_decay=0.99,
    lora=LoraConfig(targets="all"),
    optimizer=OptimizerConfig(learning_rate=2e-3),
    augmentation=AugmentationConfig(string_draws=64),
)
"""LoRA that learns a subject to the noise floor and leaves its class alone; averaged weights, for batches are small."""
_ON_SD3: dict[str, Any] = {"ema_decay": 0.98, "lora": LoraConfig(), "optimizer": OptimizerConfig(learning_rate=4e-3)}
"""What the miniature SD3 is trained with instead: on every layer the subject leaks into its class."""


def quickstart() -> RunConfig:
    """The shipped dog on the miniature SDXL: baseline, AELIF's noise, and what did most in the study; in minutes."""
    return RunConfig(
        data=shipped("dog"),
        prompts=_PROMPTS,
        train=MINIATURE_TRAIN,
        synthesis=SynthesisConfig(images_per_prompt=5, steps=10, guidance_scale=3.0),
    )


def quickstart_sd3() -> RunConfig:
    """The same on the miniature SD3."""
    return on_sd3(quickstart())


def retrain() -> RunConfig:
    """The one to run on a schedule: trains on the present photos, and replaces the champion by what is better."""
    return replace(
        quickstart(),
        pipeline="retrain",
        variants=with_baseline("string_augmentation:0.2@class_prompts=false"),
        seeds=(0,),
        prompts=replace(
            _PROMPTS,
            templates=(
                *_PROMPTS.templates,
                "a photograph of {subject}",
                "a good photo of {subject}",
                "a bright photo of {subject}",
                "a photo of the {subject}",
            ),
        ),
    )


def ablation() -> RunConfig:
    """Every augmentation and rival as the study sets them, and one composition, on the miniature SDXL."""
    half = "@class_prompts=false"
    return replace(
        quickstart(),
        variants=with_baseline(
            "aelif_mask:0.1", "aelif_noise_conv:0.1", "cep:1", "neftune:5", "caption_dropout:0.1",
            f"string_augmentation:0.2{half}", f"string_augmentation:0.2{half}+aelif_noise_conv:0.1",
            f"typo_shift:0.3{half}@string_scope=identifier", f"typo_noise:0.7{half}@timesteps=low",
        ),
        seeds=(0, 1, 2),
        synthesis=replace(quickstart().synthesis, images_per_prompt=4),
    )  # fmt: skip


def sweep() -> RunConfig:
    """A grid of p, and of p × σ of the noise, on the miniature SDXL: clean fidelity against robustness."""
    noises = [f"aelif_noise_conv:{share}@noise_std={std}" for share in (0.1, 0.3, 0.5) for std in (0.5, 1)]
    return replace(
        quickstart(),
        variants=with_baseline("aelif_mask:0.1", "aelif_mask:0.3", "aelif_mask:0.5", *noises),
    )


def smoke() -> RunConfig:
    """The same path in seconds: too short to learn anything, long enough to meet every step."""
    config = shrink(quickstart())
    stress = replace(config.prompts.stress, magnitudes=(0.3,))
    return replace(
        config,
        prompts=replace(config.prompts, stress=stress, contexts=1),
        train=replace(config.train, method="full", optimizer=OptimizerConfig(learning_rate=5e-4)),
        attack=AttackConfig(budget=2, images=2),
        gate=replace(config.gate, model_name="aelif-smoke"),  # nothing that anyone would use
    )


def smoke_sd3() -> RunConfig:
    """The same on the miniature SD3, by LoRA."""
    config = on_sd3(smoke())
    return replace(config, train=replace(config.train, method="lora"))


def shrink(config: RunConfig) -> RunConfig:
    """Return the run with as little of everything as still meets every step that it meets.

    Variants stay; of the families the first that is held out and the first that is not, of seeds,
    severities, magnitudes and contexts the first. The gate lets all pass.
    """
    families = expand_families(config.prompts.families)
    few = [next((f for f in families if f in group), None) for group in (HELD_OUT, TUNING)]
    stress = replace(config.prompts.stress, magnitudes=config.prompts.stress.magnitudes[:1])
    return replace(
        config,
        seeds=config.seeds[:1],
        prompts=replace(
            config.prompts, templates=config.prompts.templates[:1], severities=config.prompts.severities[:1], draws=1,
            families=tuple(family for family in few if family) or families[:1],
            contexts=min(config.prompts.contexts, 1), stress=stress,
        ),
        train=replace(config.train, steps=4, class_images=4, crops=1, checkpoint_every=2),
        synthesis=replace(config.synthesis, images_per_prompt=2, steps=4),
        attack=replace(config.attack, budget=min(config.attack.budget, 2), images=2, prompts=1),
        score=replace(config.score, resamples=200),
        gate=replace(config.gate, max_clean_distance=2.0, min_prompt_alignment=-1.0),
    )  # fmt: skip


def on_sd3(config: RunConfig) -> RunConfig:
    """Return the run on the miniature SD3, trained as it needs; its absent T5 stands for 16 tokens."""
    return replace(
        config,
        base_model="builtin:miniature-sd3",
        data=replace(config.data, max_sequence_length=16),
        train=replace(config.train, **_ON_SD3),
        gate=replace(config.gate, model_name=f"{config.gate.model_name}-sd3"),
    )


def with_baseline(*texts: str) -> tuple[Variant, ...]:
    """Return the baseline and the given variants."""
    return (Variant(), *map(Variant.parse, texts))


# ── Full-size models: one GPU; give your own photos with --instance-images ─────────────────────


def sd15() -> RunConfig:
    """Stable Diffusion 1.5 by LoRA at 512 px."""
    return _full_size(
        "stable-diffusion-v1-5/stable-diffusion-v1-5@451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        image_size=512, guidance_scale=7.5, name="aelif-sd15",
    )  # fmt: skip


def sdxl() -> RunConfig:
    """SDXL by LoRA at 1024 px."""
    return _full_size(
        "stabilityai/stable-diffusion-xl-base-1.0@462165984030d82259a11f4367a4eed129e94a7b",
        image_size=1024, guidance_scale=5.0, name="aelif-sdxl",
    )  # fmt: skip


def sd3() -> RunConfig:
    """Stable Diffusion 3 medium by LoRA at 1024 px; the model is gated: accept its terms and set HF_TOKEN."""
    return _full_size(
        "stabilityai/stable-diffusion-3-medium-diffusers@ea42f8cef0f178587cf766dc8129abd379c90671",
        image_size=1024, guidance_scale=7.0, name="aelif-sd3",
    )  # fmt: skip


def flux() -> RunConfig:
    """FLUX.1-dev by LoRA at 1024 px, with gradient checkpointing; gated like SD3."""
    config = _full_size(
        "black-forest-labs/FLUX.1-dev@3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
        image_size=1024, guidance_scale=3.5, name="aelif-flux",
    )  # fmt: skip
    return replace(
        config,
        data=replace(config.data, max_sequence_length=512),
        train=replace(config.train, gradient_checkpointing=True),
    )


def _full_size(base_model: str, *, image_size: int, guidance_scale: float, name: str) -> RunConfig:
    """Return the settings that full-size models share."""
    return RunConfig(
        base_model=base_model,
        data=replace(shipped("backpack"), image_size=image_size),
        prompts=_PROMPTS,
        train=TrainConfig(
            steps=800,
            batch_size=1,
            gradient_accumulation=2,
            class_images=100,
            lora=LoraConfig(rank=16, alpha=16.0),
            optimizer=OptimizerConfig(learning_rate=1e-4),
        ),
        synthesis=SynthesisConfig(images_per_prompt=8, steps=28, guidance_scale=guidance_scale, batch_size=4),
        score=ScoreConfig(scorer="ViT-L-14/openai"),
        gate=GateConfig(model_name=name, min_prompt_alignment=0.15),
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "quickstart": quickstart,
    "quickstart-sd3": quickstart_sd3,
    "retrain": retrain,
    "ablation": ablation,
    "sweep": sweep,
    "smoke": smoke,
    "smoke-sd3": smoke_sd3,
    "sd15": sd15,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
}


def recipe(name: str) -> RunConfig:
    """Return the configuration of a named recipe.

    Raises:
        ValueError: if there is no such recipe; names the nearest.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe = {name!r}: no such recipe; {nearest(name, RECIPES)}")
    return RECIPES[name]()
