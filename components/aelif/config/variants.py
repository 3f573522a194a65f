"""What a variant does to prompt embeddings in training, as a user writes it: ``aelif_mask:0.3``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from aelif.config.reading import nearest, require

BASELINE = "baseline"
"""The variant that trains on clean prompt embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What an augmentation's magnitude means, and which are sensible."""

    meaning: str
    default: float
    maximum: float


_TOKENS = "share of the tokens"
_PROMPTS = "share of the prompts"
AUGMENTATIONS = {
    "aelif_mask": Scale(meaning=_TOKENS, default=0.3, maximum=1.0),
    "aelif_noise_conv": Scale(meaning=_TOKENS, default=0.3, maximum=1.0),
    "cep": Scale(meaning="γ of noise N(0, γ²/D)", default=1.0, maximum=100.0),
    "neftune": Scale(meaning="α of noise U(-1, 1) α/sqrt(L D)", default=5.0, maximum=1000.0),
    "caption_dropout": Scale(meaning=_PROMPTS, default=0.1, maximum=1.0),
    "string_augmentation": Scale(meaning=_PROMPTS, default=0.5, maximum=1.0),
}
"""Augmentations, each a function in `aelif.augment`."""

_NUMBER = r"\d*\.?\d+(?:e-?\d+)?"
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

    def __str__(self) -> str:
        return f"{self.augmentation}:{self.magnitude}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Augmentations applied one after another, ``string_augmentation:0.3+aelif_mask:0.2``; none: the baseline."""

    terms: tuple[Term, ...] = ()

    @property
    def augmentation(self) -> str:
        """The name without magnitudes."""
        return "+".join(term.augmentation for term in self.terms) or BASELINE

    def __str__(self) -> str:
        return "+".join(map(str, self.terms)) or BASELINE

    @classmethod
    def of(cls, augmentation: str, magnitude: float) -> Variant:
        """Return the variant of one augmentation at a constant magnitude."""
        return cls(terms=(Term(augmentation=augmentation, magnitude=Magnitude.constant(magnitude)),))

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read ``NAME``, ``NAME:MAGNITUDE``, or several joined by ``+``; a magnitude left out is the usual one.

        Raises:
            ValueError: if a name is unknown or a magnitude no number in its range.
        """
        if text.strip() == BASELINE:
            return cls()
        terms = []
        for part in text.split("+"):
            name, colon, magnitude = part.strip().partition(":")
            scale = AUGMENTATIONS.get(name)
            if not colon:
                chosen = Magnitude.constant(scale.default if scale else 1.0)
            else:
                try:
                    chosen = Magnitude.parse(magnitude)
                except ValueError as error:
                    raise ValueError(f"variant = {text!r}: the {error}") from None
            terms.append(Term(augmentation=name, magnitude=chosen))
        return cls(terms=tuple(terms))


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
