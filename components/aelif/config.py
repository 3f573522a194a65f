"""Everything a user may set: frozen dataclasses that validate themselves on construction."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

AUGMENTATIONS = ("baseline", "aelif_mask", "aelif_noise_conv")
"""Names a variant may carry; `baseline` trains on clean prompt embeddings."""

FAMILIES = (
    "keyboard", "insert", "delete", "swap", "repeat", "substitute", "casing",
    "spacing", "word_drop", "word_repeat", "word_swap", "paper",
)  # fmt: skip
"""Perturbation families, each a function in `aelif.perturb`."""

TRACKING_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
"""What a tracking URI may begin with."""

Eligible = Literal["all", "content", "content+eos"]


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """Return a hint naming the closest known word, or all of them where none is close."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def require(condition: bool, field_name: str, value: object, remedy: str) -> None:
    """Raise the one kind of error that all settings use.

    Raises:
        ValueError: if `condition` is false; names the field, its value and the remedy.
    """
    if not condition:
        raise ValueError(f"{field_name} = {value!r}: {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One augmentation and its magnitude, as a user writes it: ``aelif_mask:0.3``."""

    augmentation: str
    magnitude: float = 0.0

    def __post_init__(self) -> None:
        require(self.augmentation in AUGMENTATIONS, "variant", self.augmentation,
                nearest(self.augmentation, AUGMENTATIONS))  # fmt: skip
        require(0.0 <= self.magnitude <= 1.0, f"magnitude of {self.augmentation}", self.magnitude,
                "give a share of the tokens between 0 and 1")  # fmt: skip
        require(self.augmentation == "baseline" or self.magnitude > 0, f"magnitude of {self.augmentation}",
                self.magnitude, f"give one above 0, such as {self.augmentation}:0.3")  # fmt: skip

    def __str__(self) -> str:
        return self.augmentation if self.augmentation == "baseline" else f"{self.augmentation}:{self.magnitude:g}"

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read ``NAME`` or ``NAME:MAGNITUDE``; the magnitude is 0.3 where none is given.

        Raises:
            ValueError: if the name is unknown or the magnitude is no number in [0, 1].
        """
        name, _, magnitude = text.strip().partition(":")
        if not magnitude:
            return cls(augmentation=name, magnitude=0.0 if name == "baseline" else 0.3)
        try:
            value = float(magnitude)
        except ValueError:
            raise ValueError(f"variant = {text!r}: the magnitude {magnitude!r} is no number") from None
        return cls(augmentation=name, magnitude=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One variant trained with one seed; travels through the pipeline as ``aelif_mask:0.3/seed=1``."""

    variant: Variant
    seed: int

    def __str__(self) -> str:
        return f"{self.variant}/seed={self.seed}"

    @classmethod
    def parse(cls, text: str) -> Trial:
        """Read what `str` wrote."""
        variant, _, seed = text.rpartition("/seed=")
        return cls(variant=Variant.parse(variant), seed=int(seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The photos and how they are named."""

    instance_images: str
    """Folder, archive or ``s3://`` prefix with photos of the subject."""
    instance_prompt: str
    """Prompt with the identifier: "a photo of sks backpack"."""
    class_prompt: str
    """The same without the identifier: "a photo of a backpack"."""
    image_size: int = 64
    """Width and height of the training images, in pixels."""

    def __post_init__(self) -> None:
        for name in ("instance_prompt", "class_prompt"):
            require(bool(getattr(self, name).strip()), name, getattr(self, name), "the prompt is empty")
        require(bool(self.instance_images.strip()), "instance_images", self.instance_images, "name a folder of photos")
        require(bool(self.identifier), "instance_prompt", self.instance_prompt,
                f"it has no identifier: add a rare word that class_prompt ({self.class_prompt!r}) "
                "lacks, such as 'a photo of sks backpack'")  # fmt: skip
        require(self.image_size >= 8 and self.image_size % 8 == 0, "image_size", self.image_size,
                "give a multiple of 8")  # fmt: skip

    @property
    def identifier(self) -> str:
        """The words of the instance prompt that the class prompt lacks ("sks")."""
        known = set(self.class_prompt.lower().split())
        return " ".join(word for word in self.instance_prompt.split() if word.lower() not in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptConfig:
    """Clean prompts and the errors made in them."""

    templates: tuple[str, ...] = ("a photo of {subject}", "a picture of {subject}", "an image of {subject}")
    """Clean prompts; ``{subject}`` becomes the identifier and the class word."""
    families: tuple[str, ...] = ("paper", "keyboard", "delete", "swap", "substitute", "word_drop")
    """Perturbation families; see `FAMILIES`."""
    severities: tuple[float, ...] = (0.1,)
    """Share of the letters (character families) or words (word families) hit, each in (0, 1]."""
    draws: int = 1
    """Perturbed prompts per clean prompt, family and severity."""
    protect_identifier: bool = False
    """Whether errors spare the identifier."""

    def __post_init__(self) -> None:
        require(len(self.templates) > 0, "templates", self.templates, "give at least one clean prompt")
        for template in self.templates:
            require("{subject}" in template, "templates", template, "it lacks {subject}")
        require(len(self.families) > 0, "families", self.families, "give at least one")
        for family in self.families:
            require(family in FAMILIES, "families", family, nearest(family, FAMILIES))
        require(len(self.severities) > 0, "severities", self.severities, "give at least one")
        for severity in self.severities:
            require(0.0 < severity <= 1.0, "severities", severity, "give shares in (0, 1]")
        require(self.draws >= 1, "draws", self.draws, "give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """DreamBooth fine-tuning."""

    method: Literal["lora", "full"] = "lora"
    """Train adapters, or every weight of the denoiser."""
    rank: int = 16
    """Rank of the LoRA matrices; alpha equals it."""
    steps: int = 300
    """Optimizer steps."""
    learning_rate: float = 5e-4
    """Peak of the schedule: a short linear warm-up, then cosine."""
    batch_size: int = 2
    """Instance images per step; as many class images ride along."""
    prior_preservation: bool = True
    """Whether class images are trained beside the instance images (Ruiz et al., arXiv 2208.12242)."""
    prior_weight: float = 1.0
    """Weight of the class images' loss."""
    class_images: int = 32
    """Class images to generate from the base model."""
    crops: int = 4
    """Seeded, slightly shifted and mirrored views cached per photo; the first is the plain one."""
    loss_weighting: Literal["min_snr", "uniform"] = "min_snr"
    """Weight of each noise level in the loss: min-SNR-γ (arXiv 2303.09556), or 1."""
    snr_gamma: float = 5.0
    """γ of min-SNR weighting."""
    max_grad_norm: float = 1.0
    """Gradient clipping."""
    checkpoint_every: int = 100
    """Steps between checkpoints, from which an interrupted training resumes."""
    eligible: Eligible = "all"
    """Tokens that augmentation may hit: every position (the paper's reading), content, or content and end."""
    noise_mean: float = 1.0
    """Mean μ of aelif_noise_conv's multiplicative noise."""
    noise_std: float = 1.0
    """Standard deviation σ of aelif_noise_conv's multiplicative noise."""
    augment_pooled: bool = False
    """Whether the pooled embedding is augmented as well (the paper does not)."""
    augment_class: bool = True
    """Whether class prompts are augmented like instance prompts."""

    def __post_init__(self) -> None:
        for name in ("rank", "steps", "batch_size", "class_images", "crops", "checkpoint_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "give at least 1")
        for name in ("learning_rate", "max_grad_norm", "snr_gamma"):
            require(getattr(self, name) > 0, name, getattr(self, name), "give a positive number")
        for name in ("prior_weight", "noise_std"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "give a number of at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisConfig:
    """How images are generated, for class images and for scoring alike."""

    images_per_prompt: int = 8
    """Images per prompt and trial."""
    steps: int = 20
    """Denoising steps."""
    guidance_scale: float = 5.0
    """Classifier-free guidance; 1 turns it off."""
    batch_size: int = 32
    """Images generated at once."""
    seed: int = 0
    """Seed of the initial latents, shared by all variants: paired comparisons."""

    def __post_init__(self) -> None:
        for name in ("images_per_prompt", "steps", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "give at least 1")
        require(self.guidance_scale >= 1, "guidance_scale", self.guidance_scale, "give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Embedding model and resampling."""

    scorer: str = "builtin:miniature-clip"
    """open_clip model: ``builtin:miniature-clip``, ``ViT-L-14/openai``, or a local open_clip folder."""
    resamples: int = 2000
    """Bootstrap resamples."""
    confidence: float = 0.95
    """Coverage of the intervals."""
    cache: str = ""
    """Folder that keeps image embeddings by content for later runs; empty: none (pipelines pass no null)."""

    def __post_init__(self) -> None:
        require(self.resamples >= 100, "resamples", self.resamples, "give at least 100")
        require(0.5 <= self.confidence < 1, "confidence", self.confidence, "give a share such as 0.95")


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
        Variant(augmentation="baseline"),
        Variant(augmentation="aelif_mask", magnitude=0.3),
        Variant(augmentation="aelif_noise_conv", magnitude=0.3),
    )
    """What to compare; the baseline must be among them."""
    seeds: tuple[int, ...] = (0, 1)
    """Training seeds; every variant is trained with each."""
    num_shards: int = 1
    """Parts into which the synthesis of one trial is cut."""
    prompts: PromptConfig = field(default_factory=PromptConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    gate: GateConfig = field(default_factory=GateConfig)

    def __post_init__(self) -> None:
        names = [str(variant) for variant in self.variants]
        require(len(set(names)) == len(names), "variants", ", ".join(names), "each may occur once")
        require("baseline" in names, "variants", ", ".join(names), "add 'baseline': improvements are measured on it")
        require(len(self.seeds) > 0, "seeds", self.seeds, "give at least one")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", self.seeds, "each may occur once")
        require(self.num_shards >= 1, "num_shards", self.num_shards, "give at least 1")

    @property
    def trials(self) -> list[Trial]:
        """Every variant with every seed, in order."""
        return [Trial(variant=variant, seed=seed) for seed in self.seeds for variant in self.variants]


Section = TypeVar("Section")


def to_dict(config: Any) -> Any:
    """Return plain dicts, lists, strings and numbers, as `from_dict` reads them (variants as text)."""
    if isinstance(config, Variant):
        return str(config)
    if dataclasses.is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, (tuple, list)):
        return [to_dict(item) for item in config]
    return config


def from_dict(section: type[Section], values: dict[str, Any], *, path: str = "") -> Section:
    """Build a config from plain values; numbers that JSON made floats become integers again.

    Args:
        section: the dataclass to build.
        values: field → value; nested sections as dicts.
        path: where the values stand in the file, for error messages ("train.").

    Raises:
        ValueError: for an unknown key (with the nearest known one), a missing one, or a wrong type.
    """
    hints = get_type_hints(section)
    for key in values:
        if key not in hints:
            raise ValueError(f"{path}{key}: no such setting; {nearest(key, hints)}")
    fields = dataclasses.fields(section)  # type: ignore[arg-type]
    required = (f for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
    for missing in (f.name for f in required if f.name not in values):
        raise ValueError(f"{path}{missing}: this setting is required")
    return section(**{key: _convert(value, hints[key], f"{path}{key}") for key, value in values.items()})


def _convert(value: Any, hint: Any, path: str) -> Any:
    """Return `value` as the annotated type `hint`, or raise a ValueError that names `path`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), path)
    if origin is Literal:
        require(value in arguments, path, value, nearest(str(value), map(str, arguments)))
        return value
    if origin is tuple:
        require(isinstance(value, (list, tuple)), path, value, "give a list")
        return tuple(_convert(item, arguments[0], path) for item in value)
    if hint is Variant:
        return value if isinstance(value, Variant) else Variant.parse(str(value))
    if dataclasses.is_dataclass(hint):
        require(isinstance(value, dict), path, value, "give a table of settings")
        return from_dict(typing.cast(type, hint), value, path=f"{path}.")
    if hint is bool:
        require(isinstance(value, bool), path, value, "give true or false")
        return value
    if hint is int:
        is_whole = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
        require(is_whole, path, value, "give a whole number")
        return int(value)
    if hint is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(is_number, path, value, "give a number")
        return float(value)
    require(isinstance(value, str), path, value, "give text")
    return value
