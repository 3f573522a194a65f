"""The output folder of a run: summary, scores, report and images under stable names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from aelif.artifacts import (
    link_images,
    new_file,
    new_folder,
    read_json,
    sha256_of,
    write_json,
)
from aelif.config import Trial


def deliver(
    destination: Path,
    *,
    summary: Path,
    verdict: Path,
    table: Path,
    page: Path,
    prompts: Path,
    worst: Path,
    images: list[Path],
    trials: list[str],
    digests: dict[str, Any],
) -> None:
    """Write the summary, the tables, the report, and `images/<variant>/seed-<n>/`.

    The summary gets the verdict and the digests; each file replaces the one of an earlier run whole.
    """
    files = {"scores.parquet": table, "prompts.parquet": prompts, "worst.parquet": worst, "report.html": page}
    for name, source in files.items():
        with new_file(destination / name) as temporary:
            shutil.copyfile(source, temporary)
    with new_folder(destination / "images") as folder:
        for source, trial in zip(images, map(Trial.parse, trials), strict=True):
            link_images([source], folder / str(trial.variant).replace(":", "-") / f"seed-{trial.seed}")
    merged = {**read_json(summary), "verdict": read_json(verdict), "digests": digests}
    write_json(destination / "summary.json", merged)


def input_digests(*, photos: Path, base: Path, prompts: Path, code_version: str) -> dict[str, str]:
    """Return the SHA-256 digests that identify a run's inputs: photo set, base model, prompts, code."""
    return {
        "photos": read_json(photos / "manifest.json")["digest"],
        "base_model": read_json(base / "source.json")["digest"],
        "prompts": sha256_of(prompts),
        "code": code_version,
    }
