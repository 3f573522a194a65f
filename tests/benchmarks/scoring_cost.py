"""Cost curves of scoring: time and memory against the number of embeddings, each point in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from aelif.randomness import numpy_generator

PHOTOS, ALIKE, TRIAL = "against 20 photos", "against as many", "a trial, 8 a prompt"
CURVES = (PHOTOS, ALIKE, TRIAL)
FLOOR = {"seconds": 1e-4, "mib": 0.1}
"""What the plot shows in place of less."""


def unit_rows(count: int, width: int, *key: int) -> np.ndarray:
    """Return (count, width) float32 rows of unit length around a common direction, without large temporaries."""
    rows = numpy_generator(0, "bench/embeddings", *key).standard_normal((count, width), dtype=np.float32)
    rows += 0.5
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor seconds and the result of a call."""
    began = time.process_time()
    result = call()
    return time.process_time() - began, result


def peak_mib(*, reset: bool = False) -> float:
    """Return the largest memory of this process so far, or since the last reset (Linux: proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(curve: str, size: int, width: int) -> dict[str, Any]:
    """Return seconds and MiB beside the inputs that one point of a cost curve takes; run in a process of its own."""
    from aelif.score.wasserstein import set_distance

    x_ND, y_MD = unit_rows(size, width, 2), unit_rows(size if curve == ALIKE else 20, width, 3)
    set_distance(x_ND[:8], y_MD[:9])
    if curve == TRIAL:
        score = trial_of(x_ND, y_MD)
        before = peak_mib(reset=True)
        seconds, _ = timed(score)
        method = "exact"
    else:
        before = peak_mib(reset=True)
        seconds, (_, method) = timed(lambda: set_distance(x_ND, y_MD))
    return {"curve": curve, "size": size, "seconds": seconds, "mib": peak_mib() - before, "method": method}


def trial_of(x_ND: np.ndarray, y_MD: np.ndarray) -> Callable[[], Any]:
    """Return the call that scores images, eight to a prompt, by all metrics."""
    from aelif.artifacts import Embeddings, ImageRecord
    from aelif.config import Trial
    from aelif.score.trial import score_trial

    count = len(x_ND) // 8
    records = [ImageRecord(file_name="", text="", prompt_id=i // 8, image_index=i % 8) for i in range(8 * count)]
    same = dict.fromkeys(("clean_prompt", "prompt", "prompt_set", "family"), "")
    prompts = [{"prompt_id": index, "clean_id": index, "severity": 0.0, **same} for index in range(count)]
    generated = Embeddings(images=x_ND[: 8 * count], records=records, texts={"": y_MD[0]})
    reference = Embeddings(images=y_MD, records=[], texts={})
    return lambda: score_trial(reference, generated, prompts, Trial.parse("baseline/seed=0"))


def cost_curves(sizes: list[int], width: int) -> list[dict[str, Any]]:
    """Return the points of all curves, each from a fresh interpreter on one thread."""
    points, environment = [], {**os.environ, "OMP_NUM_THREADS": "1"}
    for curve in CURVES:
        for size in sizes:
            command = [sys.executable, __file__, curve, str(size), str(width)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            points.append(json.loads(done.stdout))
    return points


def print_curves(console: Console, points: list[dict[str, Any]]) -> None:
    table = Table("embeddings", *CURVES, title="seconds, MiB beside the inputs", title_justify="left")
    for size in sorted({point["size"] for point in points}):
        cells = [
            f"{point['seconds']:.3g} s, {point['mib']:.0f} MiB{'' if point['method'] == 'exact' else ' †'}"
            for point in points
            if point["size"] == size
        ]
        table.add_row(f"{size:,}", *cells)
    console.print(table)
    methods = sorted({point["method"] for point in points} - {"exact"})
    console.print(f"exact; † {', '.join(methods) or 'nowhere'}")


def plot(points: list[dict[str, Any]], path: Path) -> None:
    """Write seconds and memory against the number of embeddings as a PNG; hollow marks are bounds from slices."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    labels = {"seconds": "processor seconds", "mib": "MiB beside the inputs"}
    for axis, (field, label) in zip(axes, labels.items(), strict=True):
        for curve, colour in zip(CURVES, ("tab:blue", "tab:orange", "tab:green"), strict=True):
            own = [point for point in points if point["curve"] == curve]
            axis.plot([p["size"] for p in own], [max(p[field], FLOOR[field]) for p in own], color=colour, label=curve)
            for point in own:
                face = colour if point["method"] == "exact" else "white"
                axis.plot(point["size"], max(point[field], FLOOR[field]), "o", color=colour, markerfacecolor=face)
        axis.set(xscale="log", yscale="log", xlabel="embeddings", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(title="a set's distance, or all scores")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
