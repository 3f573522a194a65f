"""What a run asks its models: clean prompts, the same with errors, other contexts, the class likewise, and stress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from aelif.artifacts import OF_CLASS
from aelif.config import OUT_OF_DISTRIBUTION, DataConfig, PromptConfig, expand_families, require
from aelif.config.perturbations import check_families
from aelif.perturb.contexts import CONTEXTS, put_in_context
from aelif.perturb.draws import draw_new
from aelif.perturb.edits import Perturbed
from aelif.perturb.families import explain_unchanged
from aelif.perturb.scope import EVERYWHERE, Scope, find_phrase
from aelif.perturb.subject import scope_of

Row = dict[str, Any]


def plan_prompts(config: PromptConfig, *, data: DataConfig, seed: int) -> list[Row]:
    """Return the rows of the prompt table (`artifacts.prompt_schema`), without what `severity.measure` adds.

    In order: clean prompts, perturbed ones, contexts, the class prompt, the same with errors, stress, and
    what could not be made, with the reason. No perturbed prompt occurs twice or equals a clean one: such a draw is
    drawn again. Every prompt depends on its own family, severity and draw alone, but for that.

    Args:
        config: templates, families, severities, draws, contexts, stress.
        data: names the subject, its identifier and its class.
        seed: seed of the run.

    Raises:
        ValueError: if a prompt is empty or no valid Unicode, no family can change any prompt, or a
            family lacks its optional package.
    """
    scope = scope_of(config, data)
    clean = list(dict.fromkeys(template.replace("{subject}", scope.subject) for template in config.templates))
    for prompt in clean:
        _require_text("templates", prompt)
    contexts = [put_in_context(clean[0], words, subject=scope.subject) for words in CONTEXTS[: config.contexts]]
    families = expand_families(config.families)
    seen = {*clean, *(context.text for context in contexts)}
    perturbed = _perturb(clean, families, config.severities, config.draws, seen=seen, scope=scope, seed=seed)
    made = any(row["prompt_set"] != "skipped" for row in perturbed)
    require(made, "families", ", ".join(config.families), f"none of them can change {clean[0]!r}; add another")
    asked = [_row(0, data.class_prompt, prompt_set="class", family="class")] if config.ask_class else []
    wrong = _class_errors(data.class_prompt, config, seen=seen, seed=seed) if config.class_errors else []
    return _number([
        *_clean_rows(clean), *perturbed, *_context_rows(clean[0], contexts), *asked, *wrong,
        *_stress_rows(clean, config),
    ])  # fmt: skip


def preview(
    text: str,
    *,
    families: Iterable[str],
    severity: float = 0.1,
    draws: int = 1,
    seed: int = 0,
    scope: Scope = EVERYWHERE,
) -> list[Row]:
    """Return the rows of one clean prompt and of what each family makes of it; a run draws its first prompt alike.

    Args:
        text: the prompt.
        families: some of `config.FAMILIES`, or their groups.
        severity: share of the letters or words to hit, in (0, 1].
        draws: prompts per family.
        seed: seed of the run.
        scope: where errors may fall.

    Returns:
        Rows as of `plan_prompts`: the clean prompt, the perturbed ones, and what could not be made (``skipped``).

    Raises:
        ValueError: if the prompt is empty or lacks a word of the scope, a family is unknown or without its package,
            or a number outside its range.
    """
    _require_text("prompt", text)
    check_families("family", names := list(families))
    require(0.0 < severity <= 1.0, "severity", severity, "give a share in (0, 1]")
    require(draws >= 1, "draws", draws, "give at least 1")
    for name, phrases in (("protect", scope.protected), ("target", scope.target), ("subject", {scope.subject} - {""})):
        for phrase in sorted(phrases):
            require(bool(find_phrase(text, phrase)), name, phrase, f"the prompt {text!r} does not hold it")
    perturbed = _perturb([text], expand_families(names), (severity,), draws, seen={text}, scope=scope, seed=seed)
    return _number([*_clean_rows([text]), *perturbed])


def _perturb(
    clean: Sequence[str],
    families: Sequence[str],
    severities: Sequence[float],
    draws: int,
    *,
    seen: set[str],
    scope: Scope,
    seed: int,
) -> list[Row]:
    """Return perturbed rows; where a prompt, family and severity fall short of their draws, one skipped row says so.

    New prompts are added to `seen`.
    """
    rows: list[Row] = []
    for (clean_id, prompt), family, (severity_id, severity) in product(
        enumerate(clean), families, enumerate(severities)
    ):
        kind = "out_of_distribution" if family in OUT_OF_DISTRIBUTION else "perturbed"
        for draw in range(draws):
            indices = (clean_id, severity_id, draw)
            drawn = draw_new(prompt, family, severity, seen=seen, scope=scope, seed=seed, indices=indices)
            if isinstance(drawn, str):
                reason = f"{drawn} {draw} of {draws} could be made." if draw else drawn
                rows.append(_row(clean_id, prompt, prompt_set="skipped", family=family, severity=severity, draw=draw,
                                 reason=reason))  # fmt: skip
                break  # further draws would find no more
            seen.add(drawn.text)
            rows.append(_row(clean_id, prompt, drawn, prompt_set=kind, family=family, severity=severity, draw=draw))
    return rows


def _class_errors(prompt: str, config: PromptConfig, *, seen: set[str], seed: int) -> list[Row]:
    """Return the class prompt with one error of each family of errors, wherever it falls."""
    families = [family for family in expand_families(config.families) if family not in OUT_OF_DISTRIBUTION]
    rows = _perturb([prompt], families, config.severities[:1], 1, seen=seen, scope=EVERYWHERE, seed=seed)
    return [{**row, "prompt_set": "class_perturbed"} for row in rows if row["prompt_set"] == "perturbed"]


def _clean_rows(clean: Sequence[str]) -> list[Row]:
    return [_row(clean_id, prompt, prompt_set="clean", family="clean") for clean_id, prompt in enumerate(clean)]


def _context_rows(prompt: str, contexts: Sequence[Perturbed]) -> list[Row]:
    """Return a row for each of DreamBooth's contexts asked for: no errors, so severity 0; `draw` is its number."""
    rows = []
    for number, context in enumerate(contexts):
        kind = "out_of_distribution" if context.edits else "skipped"
        reason = "" if context.edits else explain_unchanged("context", is_limited=False)
        rows.append(_row(0, prompt, context, prompt_set=kind, family="context", draw=number, reason=reason))
    return rows


def _stress_rows(clean: Sequence[str], config: PromptConfig) -> list[Row]:
    """Return a row for each clean prompt, augmentation and magnitude; the prompt itself stays clean."""
    return [
        _row(clean_id, prompt, prompt_set="stress", family=name, severity=magnitude)
        for (clean_id, prompt), name, magnitude in product(
            enumerate(clean), config.stress.augmentations, config.stress.magnitudes
        )
    ]


def _row(
    clean_id: int,
    clean: str,
    perturbed: Perturbed | None = None,
    *,
    prompt_set: str,
    family: str,
    severity: float = 0.0,
    draw: int = 0,
    reason: str = "",
) -> Row:
    """Return one row of the prompt table, not numbered and not measured yet."""
    from rapidfuzz.distance import Levenshtein

    made = perturbed or Perturbed(text=clean, edits=())
    return {
        "prompt_id": 0,
        "clean_id": clean_id,
        "prompt": made.text,
        "clean_prompt": clean,
        "prompt_set": prompt_set,
        "family": family,
        "severity": severity,
        "draw": draw,
        "character_error_rate": Levenshtein.distance(clean, made.text) / len(clean),
        "tokens_changed": None,
        "embedding_cosine": None,
        "embedding_shift": None,
        "reason": reason,
        "edits": [asdict(edit) for edit in made.edits],
    }


def _number(rows: Iterable[Row]) -> list[Row]:
    """Return the rows with their numbers, skipped ones last; the class prompt is a clean prompt, too."""
    ordered = sorted(rows, key=lambda row: row["prompt_set"] == "skipped")
    of_class = next((number for number, row in enumerate(ordered) if row["prompt_set"] == "class"), 0)
    return [
        {**row, "prompt_id": number, "clean_id": of_class if row["prompt_set"] in OF_CLASS else row["clean_id"]}
        for number, row in enumerate(ordered)
    ]


def _require_text(field: str, value: str) -> None:
    """Refuse what no text encoder and no Parquet file could take."""
    require(bool(value.strip()), field, value, "the prompt is empty")
    has_surrogate = any("\ud800" <= character <= "\udfff" for character in value)
    require(not has_surrogate, field, value, "it is no valid Unicode; write it as UTF-8")
