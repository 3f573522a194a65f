"""What a run was made from, as MLflow shows it: data sets, and the table of errors."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag

from aelif.artifacts import read_json

DIGEST_LENGTH = 32
"""MLflow takes 36 characters; the whole digest is a tag."""
COLUMNS = ("clean prompt", "prompt", "family", "severity", "edits", "error rate", "tokens changed", "cosine", "skipped")


def photo_input(folder: Path, *, context: str) -> DatasetInput:
    """Return a folder of prepared photos as a data set.

    Args:
        folder: with `manifest.json`.
        context: ``"training"`` or ``"reference"``.
    """
    manifest = read_json(folder / "manifest.json")
    name = Path(str(manifest["source"])).name or "photos"
    return _input(name, manifest["digest"], str(manifest["source"]), {"num_images": manifest["count"]}, context=context)


def prompt_input(prompts: Iterable[Mapping[str, Any]], digest: str, *, uri: str) -> DatasetInput:
    """Return the prompts that models were measured on as a data set.

    Args:
        prompts: rows of `prompts.parquet`.
        digest: of those that were scored (see `aelif.registry.lineage.evaluation_digest`).
        uri: where the table is.
    """
    counts: dict[str, int] = {}
    for row in prompts:
        counts[row["prompt_set"]] = counts.get(row["prompt_set"], 0) + 1
    return _input("prompts", digest, uri, {"num_prompts": sum(counts.values()), **counts}, context="evaluation")


def _input(name: str, digest: str, uri: str, profile: Mapping[str, Any], *, context: str) -> DatasetInput:
    dataset = Dataset(
        name=name,
        digest=digest[:DIGEST_LENGTH],
        source_type="uri",
        source=json.dumps({"uri": uri}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def write_perturbations(path: Path, prompts: Iterable[Mapping[str, Any]]) -> None:
    """Write what was done to each prompt as CSV, which MLflow's page shows as a table.

    Args:
        path: the file.
        prompts: rows of `prompts.parquet`; those with errors, and those in which none could be made.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(_cells(row) for row in prompts if row["prompt_set"] in ("perturbed", "skipped"))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one row of the table."""
    measured = (row["character_error_rate"], row["tokens_changed"], row["embedding_cosine"])
    severity, edits = f"{row['severity']:g}", _edits(row["edits"])
    return (row["clean_prompt"], row["prompt"], row["family"], severity, edits, *map(_number, measured), row["reason"])


def _edits(edits: Iterable[Mapping[str, Any]] | None) -> str:
    """Write edits as a person would: ``swap at 3: "ab" → "ba"``."""
    return "; ".join(f'{edit["kind"]} at {edit["start"]}: "{edit["before"]}" → "{edit["after"]}"'
                     for edit in edits or ())  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
