"""How a model is put to the test: prompts and their errors, stress, attack, synthesis, scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aelif.config.perturbations import check_families
from aelif.config.reading import nearest, require
from aelif.config.training import AugmentationConfig
from aelif.config.variants import AUGMENTATIONS, REPLACING

SubjectPart = Literal["identifier", "class_word"]

NUM_CONTEXTS = 25
"""Prompts of DreamBooth's standard set for objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StressConfig:
    """Augmentations applied to the embeddings of clean prompts when images are generated."""

    augmentations: tuple[str, ...] = ("aelif_mask", "aelif_noise_conv")
    """Which; each draws anew for every image."""
    magnitudes: tuple[float, ...] = ()
    """Points of the curve; none: no stress."""
    settings: AugmentationConfig = field(default_factory=AugmentationConfig)
    """Eligible tokens, noise, whether the pooled embedding is hit."""

    def __post_init__(self) -> None:
        for name in self.augmentations:
            require(name in AUGMENTATIONS and name not in REPLACING, "augmentations", name,
                    nearest(name, (known for known in AUGMENTATIONS if known not in REPLACING)))  # fmt: skip
            for magnitude in self.magnitudes:
                scale = AUGMENTATIONS[name]
                require(0 < magnitude <= scale.maximum, "magnitudes", magnitude,
                        f"{name} takes the {scale.meaning}; give one above 0, at most {scale.maximum:g}")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptConfig:
    """Clean prompts, the errors made in them, and what else a model is asked."""

    templates: tuple[str, ...] = ("a photo of {subject}", "a picture of {subject}", "an image of {subject}")
    """Clean prompts; ``{subject}`` becomes the identifier and the class word."""
    families: tuple[str, ...] = ("paper", "misspelling", "keyboard_azerty", "ocr", "delete", "word_drop")
    """Perturbation families, or ``tuning`` and ``held_out`` for all of theirs; see `FAMILIES`."""
    severities: tuple[float, ...] = (0.1,)
    """Share of the letters (character families) or words (word families) hit, each in (0, 1]."""
    draws: int = 1
    """Perturbed prompts per clean prompt, family and severity."""
    protect: tuple[SubjectPart, ...] = ()
    """Parts of the subject that errors spare."""
    target: tuple[SubjectPart, ...] = ()
    """Parts of the subject that alone are hit; none: the whole prompt is."""
    contexts: int = 0
    """How many of DreamBooth's 25 object prompts ("… in the jungle") to ask beside, each once, the first ones first."""
    ask_class: bool = True
    """Whether to ask for the bare class prompt, too: what of the subject has leaked into it."""
    class_errors: bool = False
    """Whether to ask for the class prompt with errors, too, one of each family: does a slip summon the subject?"""
    stress: StressConfig = field(default_factory=StressConfig)

    def __post_init__(self) -> None:
        require(len(self.templates) > 0, "templates", self.templates, "give at least one clean prompt")
        for template in self.templates:
            require("{subject}" in template, "templates", template, "it lacks {subject}")
        check_families("families", self.families)
        require(len(self.severities) > 0, "severities", self.severities, "give at least one")
        for severity in self.severities:
            require(0.0 < severity <= 1.0, "severities", severity, "give shares in (0, 1]")
        require(self.draws >= 1, "draws", self.draws, "give at least 1")
        both = set(self.protect) & set(self.target)
        require(not both, "protect", ", ".join(sorted(both)), "it is in target as well: hit it or spare it")
        require(self.ask_class or not self.class_errors, "class_errors", True, "set ask_class, too: both are compared")
        require(0 <= self.contexts <= NUM_CONTEXTS, "contexts", self.contexts, f"give 0 to {NUM_CONTEXTS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackConfig:
    """Search for the edit of a clean prompt that raises a model's distance most, by its images alone."""

    budget: int = 0
    """Prompts tried for each clean prompt; 0: no search."""
    max_edits: int = 2
    """Characters that an attack may insert, delete or substitute."""
    images: int = 3
    """Images of each prompt tried, from the same noise; the worst one is measured on fresh noise."""
    prompts: int = 1
    """Clean prompts attacked, the first ones of the table."""

    def __post_init__(self) -> None:
        require(self.budget >= 0, "budget", self.budget, "give a number of prompts, or 0 for none")
        for name in ("max_edits", "images", "prompts"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "give at least 1")


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
        require(self.images_per_prompt >= 2, "images_per_prompt", self.images_per_prompt,
                "give at least 2: one image says nothing of diversity")  # fmt: skip
        for name in ("steps", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "give at least 1")
        require(self.guidance_scale >= 1, "guidance_scale", self.guidance_scale, "give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Embedding models and resampling."""

    scorer: str = "builtin:miniature-clip"
    """open_clip model: ``builtin:miniature-clip``, ``ViT-L-14/openai``, or a local open_clip folder."""
    dino: str = ""
    """timm model for self-similarity beside CLIP: ``vit_small_patch16_224.dino``, or a local folder with
    ``config.json`` and ``model.safetensors`` as timm writes them; empty: none."""
    resamples: int = 10_000
    """Bootstrap resamples, and sign flips of the permutation test."""
    confidence: float = 0.95
    """Coverage of the intervals."""
    cache: str = ""
    """Folder that keeps image embeddings by content for later runs; empty: none (pipelines pass no null)."""

    def __post_init__(self) -> None:
        require(self.resamples >= 100, "resamples", self.resamples, "give at least 100")
        require(0.5 <= self.confidence < 1, "confidence", self.confidence, "give a share such as 0.95")
