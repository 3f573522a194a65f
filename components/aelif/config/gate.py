"""When a model may become champion: every threshold, with its unit and which side of it passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aelif.config.perturbations import check_families
from aelif.config.reading import require

Promotion = Literal["automatic", "approval"]

MAX_DISTANCE = 2.0
"""Largest distance between points of the unit sphere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyLimit:
    """Limits on one family of errors, beside those on all of them together."""

    family: str
    """Perturbation family, or ``tuning`` or ``held_out`` for every one of theirs."""
    max_distance: float = MAX_DISTANCE
    """Upper limit of the mean distance on this family's prompts, W1 in [0, 2]."""
    max_loss: float = 1.0
    """Largest share by which that distance may exceed the champion's, at least 0; 1: twice as large."""

    def __post_init__(self) -> None:
        check_families("family", (self.family,))
        require(0 <= self.max_distance <= MAX_DISTANCE, "max_distance", self.max_distance, "give one in [0, 2]")
        require(self.max_loss >= 0, "max_loss", self.max_loss, "give a share of at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """When a model may become champion; distances are W1 between CLIP embeddings, in [0, 2], lower is better."""

    model_name: str = "aelif-miniature"
    """Name in the model registry."""
    max_clean_distance: float = 1.0
    """Upper limit of the clean-prompt distance."""
    min_prompt_alignment: float = 0.0
    """Lower limit of the mean cosine between clean images and their prompt (CLIP-T), in [-1, 1]."""
    min_diversity: float = 0.0
    """Lower limit of the mean pairwise distance of images of one prompt, in [0, 2]."""
    max_clean_loss: float = 0.05
    """Largest share by which a clean distance may exceed the baseline's, and the champion's, at least 0."""
    min_improvement: float = 0.0
    """What the lower end of the interval of the improvement on the champion (share of its perturbed distance) must
    exceed, in [-1, 1): 0 asks for better beyond chance, 0.02 for 2 % better, -0.02 for no more than 2 % worse."""
    families: tuple[FamilyLimit, ...] = ()
    """Limits on single families of errors."""
    promotion: Promotion = "automatic"
    """``approval``: what passes becomes challenger, and waits for a person's `aelif promote`."""
    keep_versions: int = 10
    """Versions kept in the registry beside those that are in use or anyone may return to."""

    def __post_init__(self) -> None:
        require(bool(self.model_name), "model_name", self.model_name, "give a name")
        require(not set(self.model_name) & set(":/'\"`"), "model_name", self.model_name,
                "MLflow allows no ':' or '/' in it, and no quotes")  # fmt: skip
        require(self.max_clean_loss >= 0, "max_clean_loss", self.max_clean_loss, "give a share of at least 0")
        require(-1 <= self.min_improvement < 1, "min_improvement", self.min_improvement, "give a share in [-1, 1)")
        require(self.keep_versions >= 1, "keep_versions", self.keep_versions, "give at least 1")
        names = [limit.family for limit in self.families]
        require(len(set(names)) == len(names), "families", ", ".join(names), "each may occur once")
