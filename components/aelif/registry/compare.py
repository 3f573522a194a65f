"""Two versions side by side: origin, recorded figures, and whether their scores may be compared prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from aelif.artifacts import read_table, score_schema
from aelif.registry.addresses import find_model, find_version
from aelif.registry.history import Entry, describe

LINEAGE = ("trial", "dataset.digest", "base.uri", "base.digest", "eval.digest", "recipe.digest", "weights.sha256",
           "git.sha", "image.digest", "code_version", "aelif.version", "kfp.run_id")  # fmt: skip
"""Tags that tell where a version came from."""

_MEASURE = ("score.", "synthesis.", "data.reference_images")
"""Parameters of a run that decide what a distance means."""
_NO_MEASURE = ("score.resamples", "score.confidence", "score.cache", "score.dino", "synthesis.batch_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two versions, and what differs."""

    a: Entry
    b: Entry
    differences: Mapping[str, tuple[str, str]]
    """Lineage tag → the two values, where they differ."""
    obstacle: str
    """Why their scores cannot be compared prompt by prompt; "" where they can."""
    rows_a: tuple[Mapping[str, Any], ...] = ()
    """Rows of `scores.parquet` of the one version's trial; empty where there is an obstacle."""
    rows_b: tuple[Mapping[str, Any], ...] = ()


def compare(client: MlflowClient, name: str, a: str, b: str) -> Pair:
    """Return two versions side by side, with the scores of both where they were measured alike.

    Args:
        client: of the registry.
        name: of the registered model.
        a: number or alias.
        b: likewise.

    Raises:
        ValueError: if there is no such model or version.
    """
    one, other = find_version(client, name, a), find_version(client, name, b)
    aliases = find_model(client, name)
    values = {tag: (one.tags.get(tag, ""), other.tags.get(tag, "")) for tag in LINEAGE}
    obstacle, rows = _scores(client, one, other)
    return Pair(
        a=describe(one, aliases=aliases),
        b=describe(other, aliases=aliases),
        differences={tag: pair for tag, pair in values.items() if pair[0] != pair[1]},
        obstacle=obstacle,
        rows_a=rows[0],
        rows_b=rows[1],
    )


Rows = tuple[Mapping[str, Any], ...]


def _scores(client: MlflowClient, one: ModelVersion, other: ModelVersion) -> tuple[str, tuple[Rows, Rows]]:
    """Return why two versions' scores cannot be compared, and, where they can, both."""
    runs = [_run(client, version) for version in (one, other)]
    for version, run in zip((one, other), runs, strict=True):
        if run is None:
            return f"the run of version {version.version} is gone", ((), ())
    assert runs[0] is not None
    assert runs[1] is not None
    if fault := measured_differently(one.tags, other.tags, runs[0], runs[1]):
        return fault, ((), ())
    found = []
    for version, run in ((one, runs[0]), (other, runs[1])):
        rows = _rows(client, run, version)
        if not rows:
            return f"the run of version {version.version} has no scores of it", ((), ())
        found.append(rows)
    return "", (found[0], found[1])


def measured_differently(one: Mapping[str, str], other: Mapping[str, str], run: Run, other_run: Run) -> str:
    """Return what two versions' measurements differ in, "" where they are the same but for the model.

    Args:
        one: tags of a version.
        other: tags of another.
        run: the run that measured the one.
        other_run: likewise.
    """
    if not one.get("eval.digest") or one.get("eval.digest") != other.get("eval.digest"):
        return "they were measured on different prompts"
    photos = [reference_digest(run), reference_digest(other_run)]
    if photos[0] != photos[1]:
        return "they were measured by their distance to different photos"
    names = sorted(
        name for name in {*run.data.params, *other_run.data.params}
        if name.startswith(_MEASURE) and name not in _NO_MEASURE
        and run.data.params.get(name) != other_run.data.params.get(name)
    )  # fmt: skip
    return f"they were measured with different settings: {', '.join(names)}" if names else ""


def reference_digest(run: Run) -> str:
    """Return the digest of the photos that a run measured distances to: the reference photos, else those trained on."""
    for entry in run.inputs.dataset_inputs if run.inputs else []:
        if any(tag.key == "mlflow.data.context" and tag.value == "reference" for tag in entry.tags):
            return str(entry.dataset.digest)
    return str(run.data.tags.get("dataset.digest", ""))


def _run(client: MlflowClient, version: ModelVersion) -> Run | None:
    try:
        return client.get_run(version.run_id) if version.run_id else None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _rows(client: MlflowClient, run: Run, version: ModelVersion) -> Rows:
    """Return the scores of a version's own trial, () where its run has none."""
    if not any(file.path == "scores.parquet" for file in client.list_artifacts(run.info.run_id)):
        return ()
    with TemporaryDirectory(prefix="aelif-scores-") as folder:
        path = client.download_artifacts(run.info.run_id, "scores.parquet", folder)
        rows = read_table(Path(path), score_schema())
    return tuple(row for row in rows if f"{row['variant']}/seed={row['seed']}" == version.tags.get("trial"))
