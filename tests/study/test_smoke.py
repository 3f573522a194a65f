"""The study's own path, shrunk: the pipeline runs both models, results are gathered, tables and figures drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aelif.artifacts import read_json

ROOT = Path(__file__).parents[2]
VARIANTS = ["baseline", "aelif_mask:0.3", "typo_shift:0.8"]
PARTS = ["study-tuning/tuning-sdxl", "study/dog-sdxl", "study/dog-sd3"]


def run(*command: str) -> None:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for plan in ("study-tuning", "study"):
        only = [part.partition("/")[2] for part in PARTS if part.startswith(f"{plan}/")]
        chosen = [word for part in only for word in ("--only", part)]
        run("-c", "from aelif_pipelines.cli import main; main()", "run", plan, "--smoke", *chosen,
            "--output", str(folder / plan), "--variants", ",".join(VARIANTS))  # fmt: skip
    run("docs/study/collect.py", str(folder), str(folder / "results"))
    run("docs/study/analyse.py", str(folder / "results"), str(folder))
    return folder


def test_every_part_is_described_by_both_scorers(studied: Path):
    summary = read_json(studied / "results" / "summary.json")
    for scorer in ("clip", "clip-vit"):
        for model in ("sdxl", "sd3"):
            described = summary["confirmation"]["described"][scorer][model]
            assert list(described) == VARIANTS
            for figures in described.values():
                assert 0 < figures["clean"]["value"] < 2
                assert 0 < figures["perturbed"]["value"] < 2
        assert list(summary["tuning"]["described"]["tuning"][scorer]["sdxl"]) == VARIANTS
    one, other = (summary["confirmation"]["described"][scorer]["sd3"] for scorer in ("clip", "clip-vit"))
    assert one != other, "they see differently"


def test_figures_are_drawn(studied: Path):
    from PIL import Image

    pictures = (f"pictures-{part.partition('/')[2]}" for part in PARTS)
    for name in ("tuning", "improvements", "trade-off", "families", *pictures):
        with Image.open(studied / "results" / f"{name}.png") as image:
            assert min(image.size) > 150
            assert len(image.convert("L").getcolors() or []) > 20
    assert "typo_shift:0.8" in (studied / "results" / "tables.md").read_text()
