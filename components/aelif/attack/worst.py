"""The worst edit of each attacked prompt for one trained model, found by its images alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rapidfuzz.distance import Levenshtein

from aelif.artifacts import Embeddings, ImageRecord, image_name, new_folder, read_json, write_image_records
from aelif.attack.meter import Meter
from aelif.attack.moves import possible_edits
from aelif.attack.search import SearchResult, search
from aelif.config import AttackConfig, SynthesisConfig, Trial
from aelif.embed.clip import load_scorer
from aelif.perturb.scope import Scope
from aelif.progress import StepProgress
from aelif.randomness import numpy_generator
from aelif.synthesize.sampler import open_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """One attacked prompt."""

    clean_id: int
    prompt: str


def find_worst_cases(
    *,
    base: Path,
    model: Path,
    prompts: Sequence[Mapping[str, Any]],
    reference: Embeddings,
    trial: Trial,
    scope: Scope,
    synthesis: SynthesisConfig,
    config: AttackConfig,
    scorer: str,
    images: Path,
    progress: StepProgress,
) -> list[dict[str, Any]]:
    """Attack the first clean prompts; write the winners' images and return the rows of `worst.parquet`.

    What counts is W1 between a prompt's images and the photos. A search finds the maximum of many
    noisy values, which is too high; so the winner and its clean prompt are measured once more, on
    noise that the search never saw.

    Args:
        base: diffusers folder of the base model.
        model: folder that training wrote.
        prompts: rows of `prompts.parquet`.
        reference: embeddings of the training images.
        trial: variant and seed of the model; the same edits are drawn and the same noise is used for all.
        scope: what of the prompts may be hit.
        synthesis: steps, guidance, batches; images of the winner.
        config: budget, edits, images of each prompt tried.
        scorer: open_clip model, as in `ScoreConfig`.
        images: image folder to write; prompt_id is the clean prompt's.
        progress: told the prompts tried; warns of one that no edit can change.
    """
    victims = [Victim(clean_id=row["prompt_id"], prompt=row["prompt"]) for row in prompts
               if row["prompt_set"] == "clean"][: config.prompts]  # fmt: skip
    meter = Meter(
        adapter=open_generator(base, model), scorer=load_scorer(scorer), reference=reference.images,
        config=synthesis, image_size=int(read_json(model / "aelif.json")["image_size"]),
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    records: list[ImageRecord] = []
    with new_folder(images) as folder:
        for number, victim in enumerate(victims):
            found = _attack(meter, victim, scope, config, progress, done=number, total=len(victims))
            if found is None:
                progress.emit("warning", message=f"{victim.prompt!r}: the scope leaves no letter to attack")
                continue
            row, painted = _measure_again(meter, victim, found)
            rows.append({"variant": str(trial.variant), "seed": trial.seed, **row})
            records += _write_images(folder, victim, found.best.text, painted)
        write_image_records(folder, records)
    return rows


def _attack(
    meter: Meter, victim: Victim, scope: Scope, config: AttackConfig, progress: StepProgress, *, done: int, total: int
) -> SearchResult | None:
    """Return what the search finds for one prompt, None where nothing of it may be hit."""
    edits = possible_edits(victim.prompt, scope)
    if not edits:
        return None
    tried = done * config.budget

    def distances(texts: Sequence[str]) -> list[float]:
        nonlocal tried
        painted = meter.paint(texts, purpose="attack/search", clean_id=victim.clean_id, count=config.images)
        tried += len(texts)
        progress.advance(tried, total * config.budget, "prompts")
        return meter.distances(painted)

    return search(
        victim.prompt, edits=edits, objective=distances, budget=config.budget, max_edits=config.max_edits,
        generator=numpy_generator(meter.config.seed, "attack/edits", victim.clean_id),
    )  # fmt: skip


def _measure_again(meter: Meter, victim: Victim, found: SearchResult) -> tuple[dict[str, Any], list[Image.Image]]:
    """Return what `worst.parquet` says of one prompt but for the trial, and the winner's images on fresh noise."""
    painted = meter.paint(
        [found.best.text, victim.prompt], purpose="attack/fresh", clean_id=victim.clean_id,
        count=meter.config.images_per_prompt,
    )  # fmt: skip
    distance, clean_distance = meter.distances(painted)
    row = {
        "clean_id": victim.clean_id,
        "clean_prompt": victim.prompt,
        "prompt": found.best.text,
        "edits": [asdict(edit) for edit in found.best.edits],
        "character_error_rate": Levenshtein.distance(victim.prompt, found.best.text) / len(victim.prompt),
        "found_distance": found.value,
        "distance": distance,
        "clean_distance": clean_distance,
        "tried": found.tried,
        "best_so_far": list(found.best_so_far),
    }
    return row, painted[0]


def _write_images(folder: Path, victim: Victim, text: str, painted: Sequence[Image.Image]) -> Iterator[ImageRecord]:
    for index, image in enumerate(painted):
        name = image_name(victim.clean_id, index)
        image.save(folder / name)
        yield ImageRecord(file_name=name, text=text, prompt_id=victim.clean_id, image_index=index)
