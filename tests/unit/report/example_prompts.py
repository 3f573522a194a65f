"""Prompts of the made-up run: every prompt set of the schema."""

from __future__ import annotations

from typing import Any

CLEAN_PROMPTS = ("a photo of sks backpack", "a picture of sks backpack", "an image of sks backpack")
MAGNITUDES = {"aelif_mask": (0.1, 0.3, 0.5), "aelif_noise_conv": (0.2, 0.4, 0.8)}
CONTEXTS = ("in the jungle", "in the snow", "on the beach", "on a cobblestone street", "on top of pink fabric")

Edits = tuple[tuple[int, str, str], ...]
# prompt_id of the clean prompt, family, severity, (start, before, after) …
ERRORS: tuple[tuple[int, str, float, Edits], ...] = (
    (0, "paper", 0.1, ((2, "photo", "poto"),)),
    (1, "paper", 0.2, ((2, "picture", "pitcure"), (17, "backpack", "bakpack"))),
    (0, "keyboard", 0.1, ((4, "o", "p"), (19, "p", "o"))),
    (2, "keyboard", 0.1, ((17, "a", "s"),)),
    (1, "delete", 0.1, ((5, "t", ""), (23, "c", ""))),
    (2, "delete", 0.1, ((14, "s", ""),)),
    (0, "swap", 0.1, ((19, "pa", "ap"),)),
    (2, "swap", 0.1, ((3, "im", "mi"),)),
    (0, "substitute", 0.2, ((15, "b", "k"), (21, "c", "x"), (4, "o", "u"))),
    (1, "substitute", 0.1, ((13, "s", "q"),)),
    (0, "word_drop", 0.2, ((14, " backpack", ""),)),
    (1, "word_drop", 0.2, ((13, "sks ", ""),)),
    (2, "spacing", 0.1, ((11, " ", ""), (20, "", " "))),
    (0, "ocr", 0.2, ((2, "photo", "ph0t0"), (15, "backpack", "backpock"))),
)


def make_prompts() -> list[dict[str, Any]]:
    """Return rows of `prompt_schema`, skipped ones included."""
    rows: list[dict[str, Any]] = []

    def add(clean_id: int, prompt_set: str, family: str, severity: float, edits: Edits, **changes: Any) -> None:
        text = clean = changes.get("clean_prompt") or CLEAN_PROMPTS[clean_id]
        for start, before, after in sorted(edits, reverse=True):
            assert text[start : start + len(before)] == before, (clean, start, before)
            text = text[:start] + after + text[start + len(before) :]
        hurt = min(9, sum(max(len(before), len(after)) for _, before, after in edits))
        rows.append({
            "prompt_id": len(rows), "clean_id": clean_id, "prompt": text, "clean_prompt": clean,
            "prompt_set": prompt_set, "family": family, "severity": severity, "draw": 0,
            "character_error_rate": hurt / len(clean) if family != "paper" else 0.05 * len(edits),
            "tokens_changed": len(edits), "embedding_cosine": 1 - 0.1 * len(edits), "embedding_shift": 0.3 * len(edits),
            "edits": [{"kind": family, "start": s, "before": b, "after": a} for s, b, a in edits], "reason": "",
        } | changes)  # fmt: skip

    for index in range(len(CLEAN_PROMPTS)):
        add(index, "clean", "clean", 0.0, ())
    for clean_id, family, severity, edits in ERRORS:
        add(clean_id, "perturbed", family, severity, edits)
    for context in CONTEXTS:
        add(0, "out_of_distribution", "context", 0.0, ((23, "", f" {context}"),))
    add(len(rows), "class", "class", 0.0, (), clean_prompt="a photo of a backpack")
    for augmentation, magnitudes in MAGNITUDES.items():
        for magnitude in magnitudes:
            for index in range(len(CLEAN_PROMPTS)):
                add(index, "stress", augmentation, magnitude, (), embedding_shift=1.4 * magnitude)
    add(0, "skipped", "synonym", 0.1, (), reason="no word of the prompt has a synonym in the table")
    add(1, "skipped", "tense", 0.1, (), reason="there is no verb")
    return rows
