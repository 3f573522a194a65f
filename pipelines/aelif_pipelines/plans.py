"""Ready-made plans: several runs under one name, one after another, with one report over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from aelif.config import AttackConfig, PromptConfig, RunConfig, StressConfig, Variant
from aelif_pipelines.recipes import on_sd3, quickstart, sd3, sdxl
from aelif_pipelines.study_plan import study, study_tuning

_VARIANTS = tuple(
    map(
        Variant.parse,
        ("baseline", "aelif_mask:0.1", "aelif_mask:0.3", "aelif_noise_conv:0.1", "aelif_noise_conv:0.3"),
    )
)
"""Both of the paper's augmentations, each at two magnitudes."""

_FAMILIES = ("paper", "misspelling", "keyboard", "delete", "swap", "substitute", "punctuation", "word_drop")
"""The paper's typos and people's misspellings, which no training sees, and six of the kinds that one may tune on."""


def paper() -> dict[str, RunConfig]:
    """The paper's table on both miniatures, with errors, stress curves, worst cases: 40 minutes on two cores."""
    base = _with_paper_table(quickstart(), magnitudes=(0.1, 0.3, 0.6), attack=AttackConfig(budget=16, images=2))
    base = replace(base, synthesis=replace(base.synthesis, images_per_prompt=4))
    return {"miniature-sdxl": base, "miniature-sd3": on_sd3(base)}


def paper_full() -> dict[str, RunConfig]:
    """The paper's table on SDXL and SD3 at 1024 px: days on one GPU; run the parts apart with --only."""
    attack = AttackConfig(budget=40, images=4, prompts=2)
    return {
        name: _with_paper_table(config, magnitudes=(0.1, 0.2, 0.3, 0.5), attack=attack)
        for name, config in (("sdxl", sdxl()), ("sd3", sd3()))
    }


def _with_paper_table(config: RunConfig, *, magnitudes: tuple[float, ...], attack: AttackConfig) -> RunConfig:
    """Return the run with the variants, seeds and prompts of the paper's table."""
    prompts: PromptConfig = replace(config.prompts, families=_FAMILIES, stress=StressConfig(magnitudes=magnitudes))
    return replace(config, variants=_VARIANTS, seeds=(0, 1, 2), prompts=prompts, attack=attack)


PLANS: dict[str, Callable[[], Mapping[str, RunConfig]]] = {
    "paper": paper,
    "paper-full": paper_full,
    "study-tuning": study_tuning,
    "study": study,
}
"""Name of a plan → its parts, in the order in which they run."""
