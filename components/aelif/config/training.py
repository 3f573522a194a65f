"""Settings of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aelif.config.perturbations import check_families
from aelif.config.reading import require

Eligible = Literal["all", "not_bos", "not_identifier", "content", "content+eos"]
StringScope = Literal["prompt", "subject", "identifier"]
Timesteps = Literal["all", "low", "high"]
LoraTargets = Literal["attention", "attention+mlp", "all"]
LossWeighting = Literal["family", "uniform", "min_snr", "sigma_sqrt", "cosmap"]
TimeSampling = Literal["family", "uniform", "logit_normal", "mode"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685); used where `train.method` is ``lora``, or for text encoders."""

    rank: int = 16
    """Rank of the matrices."""
    alpha: float = 16.0
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = 0.0
    """Share of an adapter's inputs zeroed in training, in [0, 1)."""
    targets: LoraTargets = "attention"
    """Which of the denoiser's layers get one: attention projections, feed-forward layers too, or every linear one."""
    dora: bool = False
    """Weight-decomposed adapters (arXiv 2402.09353)."""
    text_encoders: bool = False
    """Whether the CLIP text encoders are trained too, by adapters; their embeddings cannot be cached then."""
    text_learning_rate: float = 5e-5
    """Peak learning rate of the text encoders' adapters."""

    def __post_init__(self) -> None:
        require(self.rank >= 1, "rank", self.rank, "give at least 1, usually 4 to 64")
        for name in ("alpha", "text_learning_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "give a positive number")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "give a share in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Optimizer and learning rate; the schedule counts optimizer steps."""

    name: Literal["adamw", "adamw_8bit", "prodigy"] = "adamw"
    """AdamW; the same with 8-bit moments (bitsandbytes, CUDA); Prodigy (arXiv 2306.06101), with learning rate 1."""
    learning_rate: float = 5e-4
    """Peak of the schedule."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after the warm-up: falling to 0 along a cosine or a line, or staying."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises linearly, in [0, 1)."""
    weight_decay: float = 1e-2
    """Decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradient clipping."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "max_grad_norm"):
            require(getattr(self, name) > 0, name, getattr(self, name), "give a positive number")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "give a share in [0, 1)")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "give a number of at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationConfig:
    """What the paper leaves open about augmenting prompt embeddings, and the rivals' settings."""

    eligible: Eligible = "all"
    """Tokens that may be hit: every position (the paper's reading), all but BOS, all but the subject's identifier,
    content, or content and end."""
    segments: Literal["together", "apart"] = "together"
    """Whether the share is taken of all tokens, or of CLIP's and T5's apart (SD3)."""
    same_draw: bool = False
    """Whether all samples of a step are hit alike, instead of each by a draw of its own."""
    mask_attention: bool = False
    """Whether aelif_mask also takes the zeroed tokens out of attention (SD 1.5, 2.x, SDXL)."""
    noise_mean: float = 1.0
    """Mean μ of aelif_noise_conv's multiplicative noise; 1 keeps an embedding's expectation, 0 destroys it."""
    noise_std: float = 1.0
    """Standard deviation σ of aelif_noise_conv's multiplicative noise."""
    pooled: bool = False
    """Whether the pooled embedding is augmented as well (the paper does not)."""
    class_prompts: bool = True
    """Whether class prompts are augmented like instance prompts."""
    timesteps: Timesteps = "all"
    """At which noise levels prompts are augmented: all, or the half with little noise (times below 500 of 1000, where
    details arise) or with much (where the picture's layout does)."""
    string_families: tuple[str, ...] = ("keyboard", "insert", "repeat", "swap", "spacing", "word_repeat")
    """Perturbation families of string_augmentation, typo_shift and typo_noise; keep them apart from those scored."""
    string_severity: float = 0.1
    """Share of the letters or words that these hit, in (0, 1]."""
    string_draws: int = 16
    """Misspelt versions of each prompt that these choose from."""
    string_scope: StringScope = "prompt"
    """Where these errors fall: anywhere, on the words that name the subject ("sks backpack"), or on its identifier."""
    reach: float = 1.5
    """How far typo_shift goes at most: 1 is the misspelt prompt's own embedding."""

    def __post_init__(self) -> None:
        require(self.noise_std >= 0, "noise_std", self.noise_std, "give a number of at least 0")
        require(self.reach > 0, "reach", self.reach, "give a number above 0")
        check_families("string_families", self.string_families)
        require(0 < self.string_severity <= 1, "string_severity", self.string_severity, "give a share in (0, 1]")
        require(self.string_draws >= 1, "string_draws", self.string_draws, "give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """DreamBooth fine-tuning (Ruiz et al., arXiv 2208.12242)."""

    method: Literal["lora", "full"] = "lora"
    """Train adapters, or every weight of the denoiser."""
    steps: int = 300
    """Optimizer steps."""
    batch_size: int = 2
    """Instance images per device and pass; as many class images ride along."""
    gradient_accumulation: int = 1
    """Passes per optimizer step: the step sees batch_size × gradient_accumulation × devices instance images."""
    mixed_precision: Precision = "auto"
    """``auto`` is bf16 on GPUs that have it, fp16 on others, fp32 on CPUs. Trained weights are fp32 always."""
    gradient_checkpointing: bool = False
    """Compute activations twice to hold fewer: about a third slower, far less memory."""
    prior_preservation: bool = True
    """Whether class images are trained beside the instance images."""
    prior_weight: float = 1.0
    """Weight of the class images' loss."""
    class_images: int = 32
    """Class images to generate from the base model, for each class prompt."""
    crops: int = 4
    """Seeded, slightly shifted views cached per photo; the first is the plain one."""
    flip: bool = True
    """Whether views are mirrored at random; turn it off for lettering and lopsided subjects."""
    caption_dropout: float = 0.0
    """Share of the prompts replaced by the unconditional one, in every variant; in [0, 1)."""
    loss_weighting: LossWeighting = "family"
    """Weight of each noise level: the family's usual (min-SNR-γ, arXiv 2303.09556, for SD and SDXL; 1 for flow
    matching), 1, min-SNR-γ, or SD3's sigma_sqrt and cosmap (arXiv 2403.03206)."""
    snr_gamma: float = 5.0
    """γ of min-SNR weighting."""
    time_sampling: TimeSampling = "family"
    """Distribution of the training times: the family's usual (uniform for SD and SDXL; logit-normal for flow
    matching, arXiv 2403.03206), uniform, logit_normal, or mode."""
    ema_decay: float = 0.0
    """Decay of the exponential average of the trained weights, which is saved in their stead; 0: none. In [0, 1)."""
    validate_every: int = 0
    """Steps between validation images; 0: none."""
    validation_prompts: tuple[str, ...] = ()
    """Prompts of the validation images; none given: the instance prompt."""
    checkpoint_every: int = 100
    """Steps between checkpoints, from which an interrupted training resumes."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "gradient_accumulation", "class_images", "crops", "checkpoint_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "give at least 1")
        for name in ("prior_weight", "validate_every"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "give a number of at least 0")
        for name in ("caption_dropout", "ema_decay"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "give a share in [0, 1)")
        require(self.snr_gamma > 0, "snr_gamma", self.snr_gamma, "give a positive number")
