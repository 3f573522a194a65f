"""Which prompts and images the page shows, and how a prompt's errors are marked."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelif.artifacts import read_image_records
from aelif.report.tables import prompt_distances
from aelif.report.wording import distance, summary_key

MAX_CLEAN_PROMPTS = 3
MAX_WORST_PROMPTS = 6
MAX_LOST_PROMPTS = 2
MAX_PHOTOS = 8
MAX_IMAGES_PER_CELL = 4
MAX_IMAGES = 240
"""Images of the page, photos aside; at some 4 kB each they stay near 1 MB."""
MAX_PIXELS = 160
"""Longer side of an inlined image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One generated image and what it was generated for."""

    path: Path
    prompt_id: int
    image_index: int


def read_pictures(folder: str | Path) -> list[Picture]:
    """Read the pictures of an image folder.

    Raises:
        ValueError: if the folder lacks `metadata.jsonl`, or a file that it names.
    """
    return [
        Picture(path=Path(folder) / record.file_name, prompt_id=record.prompt_id, image_index=record.image_index)
        for record in read_image_records(folder)
    ]


def data_uri(path: Path) -> str:
    """Return an image as a JPEG `data:` URI, at most `MAX_PIXELS` wide and high."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((MAX_PIXELS, MAX_PIXELS), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


# ── Errors in a prompt ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a prompt: kept (`before == after`), or changed from `before` to `after`."""

    before: str
    after: str


def mark_edits(prompt: Mapping[str, Any]) -> list[Piece]:
    """Return the stretches of a prompt, kept and changed, in order.

    Edits are recorded against the clean prompt. Where they do not lead to the prompt, the whole
    prompt is one kept stretch: better no mark than a wrong one.
    """
    clean, pieces, position = prompt["clean_prompt"], [], 0
    plain = [Piece(before=prompt["prompt"], after=prompt["prompt"])]
    for edit in sorted(prompt["edits"] or [], key=lambda edit: edit["start"]):
        start, before = edit["start"], edit["before"]
        if start < position or clean[start : start + len(before)] != before:
            return plain
        if start > position:
            pieces.append(Piece(before=clean[position:start], after=clean[position:start]))
        pieces.append(Piece(before=before, after=edit["after"]))
        position = start + len(before)
    if position < len(clean):
        pieces.append(Piece(before=clean[position:], after=clean[position:]))
    return pieces if "".join(piece.after for piece in pieces) == prompt["prompt"] else plain


# ── Selection ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The images of one variant for one prompt."""

    variant: str
    series: int
    distance: str
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """One prompt and its images, a strip per variant."""

    prompt: Mapping[str, Any]
    pieces: list[Piece]
    strips: tuple[Strip, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Prompts shown for one reason."""

    title: str
    reason: str
    rows: tuple[GridRow, ...]


def select_prompts(
    prompts: Sequence[Mapping[str, Any]],
    distances: Mapping[str, Mapping[int, float]],
    champion: str | None,
) -> list[tuple[str, str, list[Mapping[str, Any]]]]:
    """Return (title, reason, prompts) of each group to show; the choice is a function of the scores.

    Clean prompts come first; then, of every family, the prompt on which the baseline does worst;
    then those on which the champion loses most against the baseline, so that nothing is hidden.
    """
    base = distances.get("baseline") or next(iter(distances.values()), {})
    clean = [prompt for prompt in prompts if prompt["prompt_set"] == "clean"][:MAX_CLEAN_PROMPTS]
    perturbed = [prompt for prompt in prompts if prompt["prompt_set"] != "clean" and prompt["prompt_id"] in base]
    perturbed.sort(key=lambda prompt: (-base[prompt["prompt_id"]], prompt["prompt_id"]))
    worst = list({prompt["family"]: prompt for prompt in reversed(perturbed)}.values())[::-1]
    worst.sort(key=lambda prompt: (-base[prompt["prompt_id"]], prompt["prompt_id"]))
    groups = [
        ("Clean prompts", "What the models paint when the prompt is right.", clean),
        (
            "The worst errors",
            "Of each family, the prompt that takes the baseline furthest from the photos; worst first.",
            worst[:MAX_WORST_PROMPTS],
        ),
    ]
    if champion not in (None, "baseline") and champion in distances:
        own = distances[champion]
        losses = {
            p["prompt_id"]: own[p["prompt_id"]] - base[p["prompt_id"]] for p in perturbed if p["prompt_id"] in own
        }
        lost = [prompt for prompt in perturbed if losses.get(prompt["prompt_id"], 0) > 0]
        lost.sort(key=lambda prompt: (-losses[prompt["prompt_id"]], prompt["prompt_id"]))
        reason = f"The perturbed prompts on which {champion} loses most against the baseline."
        groups.append((f"Where {champion} is worse", reason, lost[:MAX_LOST_PROMPTS]))
    return [group for group in groups if group[2]]


def build_grids(
    *,
    prompts: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    images: Mapping[str, Sequence[Picture]],
    champion: str | None,
) -> list[Grid]:
    """Return the grids of the page: images of each variant's first trial, the same initial noise side by side."""
    distances = prompt_distances(scores, summary)
    groups = select_prompts(prompts, distances, champion)
    first = _first_trials(images, summary)
    num_cells = len(first) * sum(len(rows) for _, _, rows in groups)
    per_cell = max(1, min(MAX_IMAGES_PER_CELL, MAX_IMAGES // max(1, num_cells)))
    return [
        Grid(
            title=title,
            reason=reason,
            rows=tuple(
                GridRow(
                    prompt=prompt,
                    pieces=mark_edits(prompt),
                    strips=tuple(
                        Strip(
                            variant=variant,
                            series=list(summary["variants"]).index(variant),
                            distance=distance(distances[variant].get(prompt["prompt_id"])),
                            uris=tuple(data_uri(path) for path in _paths(pictures, prompt["prompt_id"])[:per_cell]),
                        )
                        for variant, pictures in first.items()
                    ),
                )
                for prompt in rows
            ),
        )
        for title, reason, rows in groups
    ]


def _first_trials(images: Mapping[str, Sequence[Picture]], summary: Mapping[str, Any]) -> dict[str, Sequence[Picture]]:
    """Return variant (as the summary names it) → pictures of its first trial, in the summary's order."""
    first: dict[str, Sequence[Picture]] = {}
    for trial, pictures in images.items():
        key = summary_key(trial.partition("/")[0], summary)
        if key is not None:
            first.setdefault(key, pictures)
    return {key: first[key] for key in summary["variants"] if key in first}


def _paths(pictures: Iterable[Picture], prompt_id: int) -> list[Path]:
    own = sorted((picture for picture in pictures if picture.prompt_id == prompt_id), key=lambda p: p.image_index)
    return [picture.path for picture in own]
