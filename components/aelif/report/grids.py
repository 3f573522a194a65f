"""Which prompts and images the page shows side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aelif.config import BASELINE, CHAMPION
from aelif.report.champion import champion_distances, champion_leakage
from aelif.report.edits import Piece, mark_edits
from aelif.report.pictures import Picture, data_uri, paths_of
from aelif.report.tables import prompt_distances
from aelif.report.wording import distance, read_interval, summary_key

MAX_CLEAN_PROMPTS = 3
MAX_WORST_PROMPTS = 6
MAX_CONTEXTS = 4
MAX_CLASS_PROMPTS = 1
MAX_LOST_PROMPTS = 2
MAX_IMAGES_PER_CELL = 4
MAX_IMAGES = 200
"""Images of the grids; at some 8 kB each they stay below 2 MB."""

Prompt = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The images of one variant for one prompt."""

    variant: str
    measure: str
    """What `figure` is: the prompt's distance, or the leakage of the bare class prompt."""
    figure: str
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """One prompt and its images, a strip per variant."""

    prompt: Prompt
    pieces: list[Piece]
    strips: tuple[Strip, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Prompts shown for one reason."""

    kind: str
    """``clean``, ``worst``, ``contexts``, ``class`` or ``lost``."""
    title: str
    reason: str
    rows: tuple[GridRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Prompts to show for one reason, and whose images."""

    kind: str
    title: str
    reason: str
    prompts: tuple[Prompt, ...]
    variants: tuple[str, ...]


def select_prompts(
    prompts: Sequence[Prompt],
    distances: Mapping[str, Mapping[int, float]],
    best: str | None,
    shown: Sequence[str],
) -> list[Group]:
    """Return the groups of prompts to show; the choice is a function of the scores.

    Clean prompts come first; then, of every family, the prompt on which the baseline does worst;
    then new contexts, spread over their list, and the bare class; then those on which the best
    variant loses most against the baseline, so that nothing is hidden.

    Args:
        prompts: rows of `artifacts.prompt_schema`.
        distances: variant → prompt_id → distance.
        best: the variant that the page compares with the baseline.
        shown: the variants whose images are shown.
    """
    base = distances.get(BASELINE) or next(iter(distances.values()), {})
    by_set = {name: [prompt for prompt in prompts if prompt["prompt_set"] == name]
              for name in ("clean", "perturbed", "out_of_distribution", "class")}  # fmt: skip
    perturbed = [prompt for prompt in by_set["perturbed"] if prompt["prompt_id"] in base]
    pair = tuple(name for name in shown if name in (BASELINE, best)) or tuple(shown)
    contexts = by_set["out_of_distribution"]
    contexts = contexts[:: max(1, -(-len(contexts) // MAX_CONTEXTS))]
    lost = _lost(perturbed, distances, base, best)[:MAX_LOST_PROMPTS]
    rows = (
        ("clean", "Clean prompts", "What the models paint when the prompt is right.",
         by_set["clean"][:MAX_CLEAN_PROMPTS], tuple(shown)),
        ("worst", "The worst errors",
         "Of each family, the prompt that takes the baseline furthest from the photos; worst first.",
         _worst_of_families(perturbed, base)[:MAX_WORST_PROMPTS], tuple(shown)),
        ("contexts", "New contexts", "The subject where no photo shows it: an augmentation must not cost these.",
         contexts, pair),
        ("class", "The bare class prompt", "Asked for the class alone, a model should not paint the very subject: "
         "what of it shows here has leaked into the class.", by_set["class"][:MAX_CLASS_PROMPTS], tuple(shown)),
        ("lost", f"Where {best} is worse", f"The perturbed prompts on which {best} loses most against the baseline.",
         lost, pair),
    )  # fmt: skip
    return [
        Group(kind=kind, title=title, reason=reason, prompts=tuple(chosen), variants=variants)
        for kind, title, reason, chosen, variants in rows
        if chosen
    ]


def _worst_of_families(perturbed: Sequence[Prompt], base: Mapping[int, float]) -> list[Prompt]:
    """Return the prompt of each family on which the baseline does worst, the worst family first."""
    ranked = sorted(perturbed, key=lambda prompt: (-base[prompt["prompt_id"]], prompt["prompt_id"]))
    firsts: dict[str, Prompt] = {}
    for prompt in ranked:
        firsts.setdefault(prompt["family"], prompt)
    return list(firsts.values())


def _lost(
    perturbed: Sequence[Prompt],
    distances: Mapping[str, Mapping[int, float]],
    base: Mapping[int, float],
    best: str | None,
) -> list[Prompt]:
    """Return the prompts on which `best` is worse than the baseline, the greatest loss first."""
    if best in (None, BASELINE) or best not in distances:
        return []
    own = distances[best]
    losses = {p["prompt_id"]: own[p["prompt_id"]] - base[p["prompt_id"]] for p in perturbed if p["prompt_id"] in own}
    lost = [prompt for prompt in perturbed if losses.get(prompt["prompt_id"], 0) > 0]
    return sorted(lost, key=lambda prompt: (-losses[prompt["prompt_id"]], prompt["prompt_id"]))


def build_grids(
    *,
    prompts: Sequence[Prompt],
    scores: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    images: Mapping[str, Sequence[Picture]],
    best: str | None,
    shown: Sequence[str],
    champion: Sequence[Picture] = (),
) -> list[Grid]:
    """Return the grids of the page: images of each variant's first trial, the same initial noise side by side.

    The champion's stand last in every row, as the variant `CHAMPION`, where there are any.
    """
    distances = prompt_distances(scores, summary)
    first = {name: pictures for name, pictures in first_trials(images, summary).items() if name in shown}
    groups = select_prompts(prompts, distances, best, list(first))
    leakages = {name: read_interval(entry.get("leakage")).value for name, entry in summary["variants"].items()}
    if champion:
        first, distances = {**first, CHAMPION: champion}, {**distances, CHAMPION: champion_distances(scores)}
        leakages[CHAMPION] = champion_leakage(scores)
        groups = [replace(group, variants=(*group.variants, CHAMPION)) for group in groups]
    per_cell = _images_per_cell(groups)

    def strip(name: str, prompt_id: int, kind: str) -> Strip:
        leakage = leakages[name] if kind == "class" else None
        return Strip(
            variant=name,
            measure="distance" if leakage is None else "leakage",
            figure=distance(distances[name].get(prompt_id) if leakage is None else leakage),
            uris=tuple(data_uri(path) for path in paths_of(first[name], prompt_id)[:per_cell]),
        )

    return [
        Grid(
            kind=group.kind,
            title=group.title,
            reason=group.reason,
            rows=tuple(
                GridRow(
                    prompt=prompt,
                    pieces=mark_edits(prompt),
                    strips=tuple(strip(name, prompt["prompt_id"], group.kind) for name in group.variants),
                )
                for prompt in group.prompts
            ),
        )
        for group in groups
    ]


def _images_per_cell(groups: Sequence[Group]) -> int:
    num_cells = sum(len(group.prompts) * len(group.variants) for group in groups)
    return max(1, min(MAX_IMAGES_PER_CELL, MAX_IMAGES // max(1, num_cells)))


def first_trials(images: Mapping[str, Sequence[Picture]], summary: Mapping[str, Any]) -> dict[str, Sequence[Picture]]:
    """Return variant (as the summary names it) → pictures of its first trial, in the summary's order."""
    first: dict[str, Sequence[Picture]] = {}
    for trial, pictures in images.items():
        key = summary_key(trial.rpartition("/seed=")[0], summary)
        if key is not None:
            first.setdefault(key, pictures)
    return {key: first[key] for key in summary["variants"] if key in first}
