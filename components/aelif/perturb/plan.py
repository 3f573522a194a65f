"""Which prompts a run is scored on: every clean one, then its errors, family by family."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from itertools import product
from typing import Any

from aelif.config import DataConfig, PromptConfig, nearest, require
from aelif.perturb import FAMILY_FUNCTIONS, Perturbed
from aelif.randomness import numpy_generator

ATTEMPTS = 32
"""Draws before an error that only repeats known prompts is given up."""


def subject_of(data: DataConfig) -> str:
    """Return how the instance prompt names its subject: from the identifier on ("sks backpack").

    An identifier that comes last ("a photo of backpack sks") takes with it what stands before it,
    back to where the two prompts part.
    """
    words, class_words = data.instance_prompt.split(), data.class_prompt.lower().split()
    start = next(index for index, word in enumerate(words) if word.lower() not in class_words)
    if start == len(words) - 1:
        shared = zip(words, class_words, strict=False)
        start = next((index for index, (word, other) in enumerate(shared) if word.lower() != other), start)
    subject = " ".join(words[start:])
    return subject.rstrip(".,;:!?") or subject


def plan_prompts(config: PromptConfig, *, subject: str, identifier: str, seed: int) -> list[dict[str, Any]]:
    """Return the rows of the prompt table (`artifacts.prompt_schema`): clean prompts first, then perturbed ones.

    No prompt occurs twice: a draw that equals a clean or an earlier perturbed prompt is drawn again,
    and left out where `ATTEMPTS` draws bring nothing new.

    Args:
        config: templates, families, severities, draws.
        subject: what ``{subject}`` stands for (see `subject_of`).
        identifier: its words are spared where the config protects them.
        seed: seed of the run.

    Raises:
        ValueError: if a prompt is empty or no valid Unicode, or no family can change any prompt.
    """
    clean = list(dict.fromkeys(template.replace("{subject}", subject) for template in config.templates))
    for prompt in clean:
        _require_text("templates", prompt)
    rows = [
        _row(prompt_id, prompt_id, prompt, Perturbed(text=prompt, edits=())) for prompt_id, prompt in enumerate(clean)
    ]
    protected = frozenset(identifier.split()) if config.protect_identifier else frozenset()
    seen = set(clean)
    choices = product(enumerate(clean), config.families, enumerate(config.severities), range(config.draws))
    for (clean_id, prompt), family, (severity_id, severity), draw in choices:
        indices = (clean_id, severity_id, draw)
        perturbed = _draw_new(prompt, family, severity, seen, protected=protected, seed=seed, indices=indices)
        if perturbed:
            seen.add(perturbed.text)
            rows.append(_row(len(rows), clean_id, prompt, perturbed, family=family, severity=severity, draw=draw))
    require(len(rows) > len(clean), "families", ", ".join(config.families),
            f"none of them can change {clean[0]!r}; add another")  # fmt: skip
    return rows


def preview(
    text: str,
    *,
    families: Iterable[str],
    severity: float = 0.1,
    draws: int = 1,
    seed: int = 0,
    protect: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Return what each family makes of one prompt, without repetitions; a run draws its first prompt alike.

    Args:
        text: the prompt.
        families: some of `config.FAMILIES`.
        severity: share of the letters or words to hit, in (0, 1].
        draws: prompts per family.
        seed: seed of the run.
        protect: words to spare, whatever their case.

    Returns:
        Rows with `family`, `prompt`, `edits` (dicts with kind, start, before, after) and
        `character_error_rate`.

    Raises:
        ValueError: if the prompt is empty, a family unknown, or a number outside its range.
    """
    _require_text("prompt", text)
    require(0.0 < severity <= 1.0, "severity", severity, "give a share in (0, 1]")
    require(draws >= 1, "draws", draws, "give at least 1")
    protected = frozenset(word for phrase in protect for word in phrase.split())
    seen, rows = {text}, []
    for family, draw in product(families, range(draws)):
        require(family in FAMILY_FUNCTIONS, "family", family, nearest(family, FAMILY_FUNCTIONS))
        perturbed = _draw_new(text, family, severity, seen, protected=protected, seed=seed, indices=(0, 0, draw))
        if perturbed:
            seen.add(perturbed.text)
            row = _row(0, 0, text, perturbed, family=family)
            rows.append({key: row[key] for key in ("family", "prompt", "edits", "character_error_rate")})
    return rows


def _draw_new(
    clean: str,
    family: str,
    severity: float,
    seen: set[str],
    *,
    protected: frozenset[str],
    seed: int,
    indices: tuple[int, ...],
) -> Perturbed | None:
    """Return the first draw that is not among the prompts seen, or None where there is none."""
    for attempt in range(ATTEMPTS):
        generator = numpy_generator(seed, f"perturb/{family}", *indices, attempt)
        perturbed = FAMILY_FUNCTIONS[family](clean, severity, generator, protected=protected)
        if not perturbed.edits:
            return None  # nothing is eligible, whatever is drawn
        if perturbed.text not in seen and perturbed.text.strip():
            return perturbed
    return None


def _row(
    prompt_id: int,
    clean_id: int,
    clean: str,
    perturbed: Perturbed,
    *,
    family: str = "clean",
    severity: float = 0.0,
    draw: int = 0,
) -> dict[str, Any]:
    """Return one row of the prompt table."""
    from rapidfuzz.distance import Levenshtein

    return {
        "prompt_id": prompt_id,
        "clean_id": clean_id,
        "prompt": perturbed.text,
        "clean_prompt": clean,
        "prompt_set": "clean" if family == "clean" else "perturbed",
        "family": family,
        "severity": severity,
        "draw": draw,
        "character_error_rate": Levenshtein.distance(clean, perturbed.text) / len(clean),
        "edits": [asdict(edit) for edit in perturbed.edits],
    }


def _require_text(field: str, value: str) -> None:
    """Refuse what no text encoder and no Parquet file could take."""
    require(bool(value.strip()), field, value, "the prompt is empty")
    has_surrogate = any("\ud800" <= character <= "\udfff" for character in value)
    require(not has_surrogate, field, value, "it is no valid Unicode; write it as UTF-8")
