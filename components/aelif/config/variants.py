"""What a variant does to prompt embeddings in training, as a user writes it: ``aelif_mask:0.3@eligible=content``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from aelif.config.reading import from_dict, nearest, require
from aelif.config.training import AugmentationConfig

BASELINE = "baseline"
"""The variant that trains on clean prompt embeddings."""
CHAMPION = "champion"
"""The registered model in use, measured beside the variants; also its alias in the registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What an augmentation's magnitude means, and which are sensible."""

    meaning: str
    default: float
    maximum: float


_TOKENS = "share of the tokens"
_PROMPTS = "share of the prompts"
AUGMENTATIONS = {
    "aelif_mask": Scale(meaning=_TOKENS, default=0.1, maximum=1.0),
    "aelif_noise_conv": Scale(meaning=_TOKENS, default=0.1, maximum=1.0),
    "cep": Scale(meaning="γ of noise N(0, γ²/D)", default=1.0, maximum=100.0),
    "neftune": Scale(meaning="α of noise U(-1, 1) α/sqrt(L D)", default=5.0, maximum=1000.0),
    "caption_dropout": Scale(meaning=_PROMPTS, default=0.1, maximum=1.0),
    "string_augmentation": Scale(meaning=_PROMPTS, default=0.2, maximum=1.0),
    "typo_shift": Scale(meaning=_PROMPTS, default=0.3, maximum=1.0),
    "typo_noise": Scale(meaning="σ, in displacements of a misspelt prompt", default=0.7, maximum=10.0),
}
"""Augmentations, each a function in `aelif.augment`."""
AELIF = ("aelif_mask", "aelif_noise_conv")
"""Augmentations that hit a share of the tokens."""
MISSPELLING = ("string_augmentation", "typo_shift", "typo_noise")
"""Augmentations that read misspelt versions of the prompts."""
REPLACING = ("caption_dropout", *MISSPELLING)
"""Augmentations that need other prompts than a row's own: they cannot stress a finished model's embeddings."""

_ON_TOKENS = (*AELIF, "cep", "neftune")
OPTIONS: dict[str, tuple[str, ...]] = {
    "eligible": _ON_TOKENS,
    "segments": AELIF,
    "same_draw": tuple(AUGMENTATIONS),
    "noise_mean": ("aelif_noise_conv",),
    "noise_std": ("aelif_noise_conv",),
    "pooled": _ON_TOKENS,
    "string_scope": MISSPELLING,
    "reach": ("typo_shift",),
    "class_prompts": tuple(AUGMENTATIONS),
    "timesteps": tuple(AUGMENTATIONS),
}
"""Settings of `AugmentationConfig` that a term may override → the augmentations that read them. The others hold for
the whole run: by which errors prompts are misspelt, and whether zeroed tokens leave attention, which not every model
can do."""

_NUMBER = r"\d*\.?\d+(?:e-?\d+)?"
_JOINT = re.compile(r"\+(?!\s*eos\s*(?:[+@]|$))")  # the + of "content+eos" joins no terms
_MAGNITUDE = re.compile(rf"({_NUMBER})(?:(-|to)({_NUMBER}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Magnitude:
    """How strong an augmentation is: ``0.3`` always, ``0.1-0.5`` drawn per sample, ``0to0.3`` growing in training."""

    start: float
    end: float
    kind: Literal["constant", "range", "ramp"] = "constant"

    def __str__(self) -> str:
        joint = {"constant": "", "range": "-", "ramp": "to"}[self.kind]
        return joint.join(map(_shortest, (self.start, self.end) if joint else (self.start,)))

    @classmethod
    def constant(cls, value: float) -> Magnitude:
        """Return the magnitude that is always `value`."""
        return cls(start=value, end=value)

    @classmethod
    def parse(cls, text: str) -> Magnitude:
        """Read what `str` wrote.

        Raises:
            ValueError: if it is none of the three forms.
        """
        found = _MAGNITUDE.fullmatch(text.strip())
        if not found:
            raise ValueError(f"magnitude {text!r} is no number; write 0.3, 0.1-0.5 (drawn per sample) "
                             "or 0to0.3 (growing in training)")  # fmt: skip
        start, joint, end = found.groups()
        if joint is None:
            return cls.constant(float(start))
        return cls(start=float(start), end=float(end), kind="range" if joint == "-" else "ramp")


def _shortest(number: float) -> str:
    """Return the shortest text that reads as exactly this number."""
    return short if float(short := f"{number:g}") == number else repr(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One augmentation of a variant."""

    augmentation: str
    magnitude: Magnitude
    options: tuple[tuple[str, str], ...] = ()
    """Settings of `AugmentationConfig` for this term alone, as text; kept sorted and in their shortest form."""

    def __post_init__(self) -> None:
        require(self.augmentation != BASELINE, "variant", BASELINE, "write it alone: it augments nothing")
        require(self.augmentation in AUGMENTATIONS, "variant", self.augmentation,
                nearest(self.augmentation, [BASELINE, *AUGMENTATIONS]))  # fmt: skip
        scale, magnitude, name = AUGMENTATIONS[self.augmentation], self.magnitude, f"magnitude of {self.augmentation}"
        for value in (magnitude.start, magnitude.end):
            require(0 <= value <= scale.maximum, name, str(magnitude),
                    f"it is the {scale.meaning}; give one from 0 to {scale.maximum:g}")  # fmt: skip
        require(max(magnitude.start, magnitude.end) > 0, name, str(magnitude),
                f"give one above 0, such as {self.augmentation}:{scale.default:g}")  # fmt: skip
        require(magnitude.kind != "range" or magnitude.start <= magnitude.end, name, str(magnitude),
                f"write the smaller number first: {magnitude.end:g}-{magnitude.start:g}")  # fmt: skip
        object.__setattr__(self, "options", _canonical(self.augmentation, self.options))

    def settings(self, config: AugmentationConfig) -> AugmentationConfig:
        """Return the run's settings with this term's own in their place."""
        return replace(config, **{field: _scalar(text) for field, text in self.options}) if self.options else config

    def __str__(self) -> str:
        return "@".join([f"{self.augmentation}:{self.magnitude}", *(f"{field}={text}" for field, text in self.options)])

    @classmethod
    def parse(cls, text: str) -> Term:
        """Read ``NAME[:MAGNITUDE][@FIELD=VALUE]…``; a magnitude left out is the usual one.

        Raises:
            ValueError: if a name or field is unknown, or a magnitude or value not allowed.
        """
        head, *assignments = (part.strip() for part in text.split("@"))
        name, colon, magnitude = head.partition(":")
        scale = AUGMENTATIONS.get(name)
        try:
            chosen = Magnitude.parse(magnitude) if colon else Magnitude.constant(scale.default if scale else 1.0)
        except ValueError as error:
            raise ValueError(f"variant = {text.strip()!r}: the {error}") from None
        options = []
        for assignment in assignments:
            field, equals, value = (part.strip() for part in assignment.partition("="))
            require(bool(equals), "option", assignment, "write @FIELD=VALUE, such as @noise_std=0.5")
            options.append((field, value))
        return cls(augmentation=name, magnitude=chosen, options=tuple(options))


def _canonical(augmentation: str, options: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return a term's options checked, sorted by name, each value in its shortest form.

    Raises:
        ValueError: names the option, its value and the remedy.
    """
    values: dict[str, str] = {}
    for field, text in options:
        name = f"option {field} of {augmentation}"
        known = [option for option, readers in OPTIONS.items() if augmentation in readers]
        if field not in known and field in AugmentationConfig.__dataclass_fields__:
            whose = f"; {', '.join(OPTIONS[field])} takes it" if field in OPTIONS else ""
            remedy = f"it is none of this augmentation's own{whose}; set train.augmentation.{field} for the whole run"
            require(False, name, text, remedy)
        require(field in known, name, text, f"no such setting; {nearest(field, known)}")
        require(field not in values, name, text, "it is given twice")
        values[field] = _text(getattr(from_dict(AugmentationConfig, {field: _scalar(text)}), field))
    return tuple(sorted(values.items()))


def _text(value: bool | float | str) -> str:
    """Return the text that `_scalar` reads as this value; it has no + but that of "content+eos"."""
    if isinstance(value, bool):
        return str(value).lower()
    return _shortest(value).replace("e+", "e") if isinstance(value, float) else str(value)


def _scalar(text: str) -> Any:
    """Return the truth value or number that the text says, else the text."""
    if text in ("true", "false"):
        return text == "true"
    return float(text) if re.fullmatch(rf"-?{_NUMBER}", text) else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Augmentations applied one after another, ``string_augmentation:0.3+aelif_mask:0.2``; none: the baseline."""

    terms: tuple[Term, ...] = ()
    champion: str = ""
    """Version of the registered model that this stands for, ``champion@3``, instead of anything to train."""

    @property
    def augmentation(self) -> str:
        """The name without magnitudes."""
        return CHAMPION if self.champion else "+".join(term.augmentation for term in self.terms) or BASELINE

    def __str__(self) -> str:
        return f"{CHAMPION}@{self.champion}" if self.champion else "+".join(map(str, self.terms)) or BASELINE

    @classmethod
    def of(cls, augmentation: str, magnitude: float) -> Variant:
        """Return the variant of one augmentation at a constant magnitude."""
        return cls(terms=(Term(augmentation=augmentation, magnitude=Magnitude.constant(magnitude)),))

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read ``baseline``, ``champion@VERSION``, or terms (see `Term.parse`) joined by ``+``.

        Raises:
            ValueError: if a name or field is unknown, or a magnitude or value not allowed.
        """
        if text.strip() == BASELINE:
            return cls()
        if found := re.fullmatch(rf"{CHAMPION}@(\d+)", text.strip()):
            return cls(champion=found[1])
        return cls(terms=tuple(map(Term.parse, _JOINT.split(text))))


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
