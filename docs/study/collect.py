"""Gather what the study's runs measured: `python docs/study/collect.py outputs docs/study/results`.

Writes one Parquet table per stage: a row for each model family, part, variant, seed and prompt, as the pipeline's
scorer sees the images, and as the second one does, which the pipeline never asked. A part whose outputs are not there
keeps the rows that were gathered before: what took hours need not be run again to add to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from aelif.artifacts import Embeddings, read_prompts, read_table, score_schema
from aelif.artifacts.files import new_file
from aelif.config import DataConfig, ScoreConfig, Trial, Variant
from aelif.embed.folders import embed_folders
from aelif.prepare.photos import prepare_photos
from aelif.progress import StepProgress
from aelif.score.trial import score_trial
from aelif.storage import local_path
from aelif_pipelines.study_plan import study, study_tuning

SECOND = ScoreConfig(scorer="builtin:miniature-clip-vit")
METRICS = ("w1", "clip_t", "clip_i", "diversity")
QUIET = StepProgress("collect", "")

Row = dict[str, Any]


def collect_part(folder: Path, *, photos: Embeddings) -> Iterator[Row]:
    """Yield the rows of one part, by both scorers.

    Args:
        folder: the part's output folder.
        photos: the training photos as the second scorer embeds them.
    """
    scores = read_table(folder / "scores.parquet", score_schema())
    yield from ({**row, "scorer": "clip"} for row in scores)
    asked = read_prompts(folder / "prompts.parquet")
    for variant, seed in dict.fromkeys((row["variant"], row["seed"]) for row in scores):
        images = folder / "images" / variant.replace(":", "-") / f"seed-{seed}"
        trial = Trial(variant=Variant.parse(variant), seed=seed)
        yield from ({**row, "scorer": "clip-vit"} for row in score_second(images, asked, trial, photos=photos))


def score_second(images: Path, asked: list[Row], trial: Trial, *, photos: Embeddings) -> list[Row]:
    """Return a trial's scores by the second scorer."""
    return score_trial(photos, embed_folders([images], SECOND, QUIET), asked, trial)


def embed_photos(data: DataConfig) -> Embeddings:
    """Return a subject's photos, prepared as the pipeline does, as the second scorer embeds them."""
    with TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "photos"
        prepare_photos([local_path(data.instance_images)], prepared, config=data, progress=QUIET)
        return embed_folders([prepared], SECOND, QUIET, subject=0)


def read_part(table: Path, *, part: str, model: str) -> list[Row]:
    """Return a part's rows in a table that was written before; none where there is none."""
    import pyarrow.parquet as pq

    if not table.is_file():
        return []
    return pq.read_table(table, filters=[("part", "=", part), ("model", "=", model)]).to_pylist()


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as compressed Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with new_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary, compression="zstd")


def main(
    outputs: Annotated[Path, typer.Argument()] = Path("outputs"),
    results: Annotated[Path, typer.Argument()] = Path("docs/study/results"),
) -> None:
    """Gather the finished parts of OUTPUTS/study-tuning and OUTPUTS/study into RESULTS."""
    for stage, folder, parts in (("tuning", "study-tuning", study_tuning()), ("confirmation", "study", study())):
        table = results / f"{stage}.parquet"
        rows: list[Row] = []
        for name, config in parts.items():
            place = outputs / folder / name
            part, _, model = name.rpartition("-")
            if (place / "scores.parquet").is_file():
                found = collect_part(place, photos=embed_photos(config.data))
                rows += [{"model": model, "part": part, **row} for row in found if row["metric"] in METRICS]
                print(f"{name}: gathered", flush=True)
            elif kept := read_part(table, part=part, model=model):
                rows += kept
                print(f"{name}: kept as it was gathered before")
            else:
                print(f"{name}: not run yet")
        if rows:
            write_rows(table, rows)


if __name__ == "__main__":
    typer.run(main)
