"""Realised severity: what an error does to the tokens and the embeddings that a model reads.

Shape legend: B prompts, L token positions, D width of a prompt embedding, P width of the pooled one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aelif.config import StressConfig

if TYPE_CHECKING:
    from torch import Tensor

    from aelif.models.adapter import ModelAdapter
    from aelif.models.condition import TextCondition

STRESS_DRAWS = 8
"""Images whose draws the shift of a stress row is averaged over."""

_ENCODE_BATCH = 32
_MEASURED = ("perturbed", "out_of_distribution", "class_perturbed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How a model reads one clean prompt."""

    tokens: list[int]
    condition: TextCondition


def measure(
    adapter: ModelAdapter,
    rows: Sequence[Mapping[str, Any]],
    *,
    stress: StressConfig,
    images_per_prompt: int = STRESS_DRAWS,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the rows with `tokens_changed`, `embedding_cosine` and `embedding_shift` against their clean prompts.

    Tokens are the first CLIP tokenizer's, without begin, end and padding, as far as the model reads;
    their edit distance counts. The cosine is that of the pooled embeddings, or of those at the end
    token in families without (SD 1.5). The shift is ‖Z′ − Z‖ / ‖Z‖ (Frobenius) over the prompt
    embeddings but for the begin token's, padding included, for the denoiser reads it too. Of stress
    rows both are means over the draws of the first images. Skipped rows are returned as they are.

    Args:
        adapter: the model; its text encoders are used.
        rows: rows of `plan.plan_prompts`; every `clean_id` is the number of a row that is its own clean prompt.
        stress: settings of the augmentations in stress rows.
        images_per_prompt: draws of each stress row.
        seed: of those draws, as in synthesis.
    """
    import torch
    from rapidfuzz.distance import Levenshtein

    with torch.no_grad():
        clean = {
            row["prompt_id"]: _Reading(
                tokens=adapter.token_ids(row["prompt"]), condition=adapter.encode_text([row["prompt"]])
            )
            for row in rows
            if row["prompt_set"] in ("clean", "class")
        }
        measured: dict[int, dict[str, Any]] = {}
        for batch in _batches([row for row in rows if row["prompt_set"] in _MEASURED]):
            condition = adapter.encode_text([row["prompt"] for row in batch])
            for index, row in enumerate(batch):
                reading = clean[row["clean_id"]]
                moved = _displacement(condition.select(torch.tensor([index], device=condition.prompt_embeds.device)),
                                      reading.condition)  # fmt: skip
                tokens = Levenshtein.distance(reading.tokens, adapter.token_ids(row["prompt"]))
                measured[row["prompt_id"]] = {"tokens_changed": tokens, **moved}
        for row in rows:
            if row["prompt_set"] == "stress":
                moved = _stress(clean[row["clean_id"]].condition, row, stress, images_per_prompt, seed)
                measured[row["prompt_id"]] = {"tokens_changed": 0, **moved}
    still = {"tokens_changed": 0, "embedding_cosine": 1.0, "embedding_shift": 0.0}
    return [{**row, **measured.get(row["prompt_id"], still if row["prompt_id"] in clean else {})} for row in rows]


def _batches(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for first in range(0, len(rows), _ENCODE_BATCH):
        yield rows[first : first + _ENCODE_BATCH]


def _stress(
    clean: TextCondition, row: Mapping[str, Any], config: StressConfig, count: int, seed: int
) -> dict[str, float]:
    """Return the mean displacement of a clean prompt's condition over the draws of its first images."""
    from aelif.augment.stress import stress_condition

    augmented = stress_condition(clean, row=row, image_indices=range(count), config=config, seed=seed)
    return _displacement(augmented, clean)


def _displacement(changed: TextCondition, clean: TextCondition) -> dict[str, float]:
    """Return the mean cosine and shift of B rows against one clean row."""
    import torch

    from aelif.models.condition import TokenKind

    before_BP, after_BP = _summary(clean), _summary(changed)
    cosine_B = torch.cosine_similarity(after_BP.double(), before_BP.double().expand_as(after_BP), dim=1)
    moves_L = clean.token_kinds[0] != TokenKind.BOS
    before_LD = clean.prompt_embeds[0, moves_L].double()
    after_BLD = changed.prompt_embeds[:, moves_L].double()
    shift_B = (after_BLD - before_LD).flatten(1).norm(dim=1) / before_LD.norm().clamp_min(1e-12)
    return {"embedding_cosine": float(cosine_B.mean()), "embedding_shift": float(shift_B.mean())}


def _summary(condition: TextCondition) -> Tensor:
    """Return one vector for each prompt: the pooled embedding (B, P), or the one at its end token (B, D)."""
    import torch

    from aelif.models.condition import TokenKind

    if condition.pooled is not None:
        return condition.pooled
    end_B = (condition.token_kinds == TokenKind.EOS).int().argmax(dim=1)
    return condition.prompt_embeds[torch.arange(len(end_B), device=end_B.device), end_B]


def open_reader(base: Path, *, max_sequence_length: int = 256) -> ModelAdapter:
    """Return a base model whose text encoders read prompts: on the accelerator, where there is one."""
    import torch

    from aelif.models.adapter import open_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return open_model(base, device=device, max_sequence_length=max_sequence_length)


@contextmanager
def reader_of(uri: str) -> Iterator[ModelAdapter]:
    """Yield the model that a URI names, as `aelif.models.resolve` reads it; what was copied is gone afterwards.

    For the command line: loading shows no bars, which would stand between the lines of a table.

    Raises:
        ValueError: if there is no such model, or it is not whole.
    """
    from transformers.utils import logging

    from aelif.models.resolve import resolve_model

    logging.disable_progress_bar()
    with TemporaryDirectory(prefix="aelif-reader-") as scratch:
        resolve_model(uri, Path(scratch) / "model")
        yield open_reader(Path(scratch) / "model")
