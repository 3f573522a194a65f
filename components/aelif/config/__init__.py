"""Everything a user may set: frozen dataclasses that validate themselves on construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from aelif.config.data import DataConfig, Subject
from aelif.config.evaluation import AttackConfig, PromptConfig, ScoreConfig, StressConfig, SynthesisConfig
from aelif.config.perturbations import FAMILIES, HELD_OUT, OUT_OF_DISTRIBUTION, TUNING, expand_families
from aelif.config.reading import from_dict, nearest, require, to_dict
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
from aelif.config.variants import AUGMENTATIONS, BASELINE, Magnitude, Term, Trial, Variant

__all__ = [
    "AUGMENTATIONS", "BASELINE", "FAMILIES", "HELD_OUT", "OUT_OF_DISTRIBUTION", "TUNING", "AttackConfig",
    "AugmentationConfig", "DataConfig", "Eligible", "GateConfig", "LoraConfig", "LoraTargets", "LossWeighting",
    "Magnitude", "OptimizerConfig", "PromptConfig", "RunConfig", "ScoreConfig", "StressConfig", "Subject",
    "SynthesisConfig", "Term", "TimeSampling", "TrackingConfig", "TrainConfig", "Trial", "Variant", "expand_families",
    "from_dict", "nearest", "require", "to_dict",
]  # fmt: skip

TRACKING_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
"""What a tracking URI may begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """When a model may become champion; distances are W1 between CLIP embeddings, in [0, 2]."""

    model_name: str = "aelif-miniature"
    """Name in the model registry."""
    max_clean_distance: float = 1.0
    """Upper limit of the clean-prompt distance."""
    min_prompt_alignment: float = 0.0
    """Lower limit of the mean cosine between clean images and their prompt (CLIP-T), in [-1, 1]."""
    min_diversity: float = 0.0
    """Lower limit of the mean pairwise distance of images of one prompt."""
    max_clean_loss: float = 0.05
    """Largest share by which a variant's clean distance may exceed the baseline's."""

    def __post_init__(self) -> None:
        require(bool(self.model_name), "model_name", self.model_name, "give a name")
        require(not set(self.model_name) & set(":/'\"`"), "model_name", self.model_name,
                "MLflow allows no ':' or '/' in it, and no quotes")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """Where runs and models are recorded: an MLflow server, or a file with a folder beside it."""

    tracking_uri: str
    """``https://…`` of an MLflow server, or ``sqlite:////folder/mlflow.db``."""
    experiment: str = "aelif"
    """MLflow experiment that collects the runs."""
    artifact_location: str = ""
    """URI below which the experiment's files go; "" leaves it to the server, or to the database's folder."""

    def __post_init__(self) -> None:
        scheme = self.tracking_uri.partition(":")[0]
        require(scheme in TRACKING_SCHEMES, "tracking_uri", self.tracking_uri,
                "give an MLflow server (https://…) or a database (sqlite:////folder/mlflow.db)")  # fmt: skip
        require(scheme != "sqlite" or self.tracking_uri.startswith("sqlite:////"), "tracking_uri", self.tracking_uri,
                "name the file by its full path, with four slashes: sqlite:////folder/mlflow.db")  # fmt: skip
        require(bool(self.experiment.strip()), "experiment", self.experiment, "give a name")

    @classmethod
    def local(cls, folder: Path, *, experiment: str = "aelif") -> TrackingConfig:
        """Return the store that lives in `folder`: ``mlflow.db`` with ``mlflow-artifacts`` beside it."""
        folder = folder.resolve()
        return cls(
            tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
            experiment=experiment,
            artifact_location=(folder / "mlflow-artifacts").as_uri(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A whole run of the `robustness` pipeline."""

    data: DataConfig
    base_model: str = "builtin:miniature-sdxl"
    """``builtin:miniature-sdxl``, a hub id, ``s3://…``, a local diffusers folder or ``models:/name@alias``."""
    variants: tuple[Variant, ...] = (
        Variant(),
        Variant.of("aelif_mask", 0.3),
        Variant.of("aelif_noise_conv", 0.3),
    )
    """What to compare; the baseline must be among them."""
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

    def __post_init__(self) -> None:
        names = [str(variant) for variant in self.variants]
        require(len(set(names)) == len(names), "variants", ", ".join(names), "each may occur once")
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
