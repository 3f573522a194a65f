"""Everything a user may set: frozen dataclasses that validate themselves on construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aelif.config.cluster import ClusterConfig
from aelif.config.data import DataConfig, Subject
from aelif.config.evaluation import AttackConfig, PromptConfig, ScoreConfig, StressConfig, SynthesisConfig
from aelif.config.gate import FamilyLimit, GateConfig
from aelif.config.perturbations import FAMILIES, HELD_OUT, OUT_OF_DISTRIBUTION, TUNING, expand_families
from aelif.config.reading import from_dict, nearest, require, to_dict
from aelif.config.tracking import TrackingConfig
from aelif.config.training import (
    AugmentationConfig,
    Eligible,
    LoraConfig,
    LoraTargets,
    LossWeighting,
    OptimizerConfig,
    TimeSampling,
    TrainConfig,
)
from aelif.config.variants import AUGMENTATIONS, BASELINE, CHAMPION, Magnitude, Term, Trial, Variant

__all__ = [
    "AUGMENTATIONS", "BASELINE", "CHAMPION", "FAMILIES", "HELD_OUT", "OUT_OF_DISTRIBUTION", "TUNING", "AttackConfig",
    "AugmentationConfig", "ClusterConfig", "DataConfig", "Eligible", "FamilyLimit", "GateConfig", "LoraConfig",
    "LoraTargets", "LossWeighting", "Magnitude", "OptimizerConfig", "PromptConfig", "RunConfig", "ScoreConfig",
    "StressConfig", "Subject", "SynthesisConfig", "Term", "TimeSampling", "TrackingConfig", "TrainConfig", "Trial",
    "Variant", "expand_families", "from_dict", "nearest", "require", "to_dict",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A whole run of a pipeline."""

    data: DataConfig
    pipeline: Literal["robustness", "retrain"] = "robustness"
    """``robustness`` compares variants; ``retrain`` also measures the champion beside them, and ends early where
    nothing is new."""
    base_model: str = "builtin:miniature-sdxl"
    """``builtin:miniature-sdxl``, a hub id, ``s3://…``, a local diffusers folder or ``models:/name@alias``."""
    variants: tuple[Variant, ...] = tuple(
        map(Variant.parse, (BASELINE, "aelif_noise_conv:0.1", "string_augmentation:0.2@class_prompts=false"))
    )
    """What to compare; the baseline must be among them. By default the better of AELIF's two, and what did most against
    errors in our study (docs/study)."""
    seeds: tuple[int, ...] = (0, 1)
    """Training seeds; every variant is trained with each."""
    num_shards: int = 1
    """Parts into which the synthesis of one trial is cut."""
    prompts: PromptConfig = field(default_factory=PromptConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Without effect on one machine."""

    def __post_init__(self) -> None:
        names = [str(variant) for variant in self.variants]
        require(len(set(names)) == len(names), "variants", ", ".join(names), "each may occur once")
        require(not any(variant.champion for variant in self.variants), "variants", ", ".join(names),
                "the champion is measured by pipeline = retrain, and cannot be trained")  # fmt: skip
        require(BASELINE in names, "variants", ", ".join(names), "add 'baseline': improvements are measured on it")
        require(len(self.seeds) > 0, "seeds", self.seeds, "give at least one")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", self.seeds, "each may occur once")
        require(self.num_shards >= 1, "num_shards", self.num_shards, "give at least 1")
        seen = set(expand_families(self.train.augmentation.string_families)) & set(HELD_OUT)
        require(not seen, "train.augmentation.string_families", ", ".join(sorted(seen)),
                "these families are held out of training; give some of: " + ", ".join(TUNING))  # fmt: skip

    @property
    def trials(self) -> list[Trial]:
        """Every variant with every seed, in order."""
        return [Trial(variant=variant, seed=seed) for seed in self.seeds for variant in self.variants]
