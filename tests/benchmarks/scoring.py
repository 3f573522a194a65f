"""Scoring beside the plain way, and its cost from 100 to 100,000 embeddings: `make bench-score`.

Plain: a POT call for every image set in every resample, as one writes it first; and, fairer, a POT call
for every image set once and a loop over the resamples. Ours: `wasserstein_many`, and resampled means as
matrix products. All get the same weights, and must give the same numbers. Times are processor
seconds: other work on the machine does not count. Memory is read from Linux's /proc.

Legend: V variants, S training seeds, P prompts, N images per prompt, M photos, D dimensions, R resamples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from aelif.randomness import numpy_generator

SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
PHOTOS, ALIKE, TRIAL = "against 20 photos", "against as many", "a trial, 8 a prompt"
CURVES = (PHOTOS, ALIKE, TRIAL)
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Size of the comparison; the defaults are a run of three variants."""

    variants: int = 3
    seeds: int = 3
    clean_prompts: int = 4
    versions: int = 8
    """Prompts made of a clean prompt."""
    images: int = 8
    photos: int = 5
    width: int = 512
    resamples: int = 10_000
    timed: int = 20
    """Resamples that the plain way is timed on; its time is scaled to all."""

    @property
    def prompts(self) -> int:
        return self.clean_prompts * self.versions


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


# ── Beside the plain way ───────────────────────────────────────────────────────────────────────


def by_pot(x_ND: np.ndarray, y_MD: np.ndarray) -> float:
    """Return W1 as POT's documentation has it."""
    import ot

    return float(ot.emd2([], [], ot.dist(x_ND.astype(np.float64), y_MD.astype(np.float64), metric="euclidean")))


def distances_by_pot(images_VSPND: np.ndarray, photos_MD: np.ndarray) -> np.ndarray:
    """Return (V, S, P) distances, a POT call each."""
    groups = images_VSPND.reshape(-1, *images_VSPND.shape[-2:])
    return np.array([by_pot(images_ND, photos_MD) for images_ND in groups]).reshape(images_VSPND.shape[:3])


def plain(images_VSPND: np.ndarray, photos_MD: np.ndarray, seeds_RS: np.ndarray, prompts_RP: np.ndarray) -> np.ndarray:
    """Return (V, R) means: every resample measures every image set anew."""
    means_RV = []
    for seeds_S, prompts_P in zip(seeds_RS, prompts_RP, strict=True):
        distances_VSP = distances_by_pot(images_VSPND, photos_MD)
        means_RV.append([seeds_S @ distances_SP @ prompts_P for distances_SP in distances_VSP])
    return np.array(means_RV).T


def plain_once(
    images_VSPND: np.ndarray, photos_MD: np.ndarray, seeds_RS: np.ndarray, prompts_RP: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (V, S, P) distances by a POT call each, and (V, R) means by a loop over the resamples."""
    distances_VSP = distances_by_pot(images_VSPND, photos_MD)
    pairs = list(zip(seeds_RS, prompts_RP, strict=True))
    return distances_VSP, np.array(
        [[seeds_S @ distances_SP @ prompts_P for seeds_S, prompts_P in pairs] for distances_SP in distances_VSP]
    )


def ours(
    images_VSPND: np.ndarray, photos_MD: np.ndarray, seeds_RS: np.ndarray, prompts_RP: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same, as scoring does it."""
    from aelif.score.bootstrap import resample_mean
    from aelif.score.wasserstein import wasserstein_many

    groups = images_VSPND.reshape(-1, *images_VSPND.shape[-2:])
    distances_VSP = wasserstein_many(groups, photos_MD).reshape(images_VSPND.shape[:3])
    return distances_VSP, np.array([resample_mean(table_SP, seeds_RS, prompts_RP) for table_SP in distances_VSP])


def compare(work: Work) -> dict[str, float]:
    """Return seconds of the three ways, and of the distances alone, and how far their numbers lie apart.

    `plain_s` is scaled from `work.timed` resamples; everything else is timed in full.
    """
    from aelif.score.bootstrap import draw_clustered_weights, draw_weights
    from aelif.score.wasserstein import wasserstein_many

    shape = (work.variants, work.seeds, work.prompts, work.images, work.width)
    images_VSPND = unit_rows(int(np.prod(shape[:-1])), work.width, 0).reshape(shape)
    photos_MD = unit_rows(work.photos, work.width, 1)
    seeds_RS = draw_weights(work.seeds, work.resamples, "seeds")
    clusters_P = [prompt // work.versions for prompt in range(work.prompts)]
    prompts_RP = draw_clustered_weights(clusters_P, work.clean_prompts, work.resamples)
    given = (images_VSPND, photos_MD, seeds_RS, prompts_RP)
    few = slice(1, work.timed + 1)
    plain(images_VSPND, photos_MD, seeds_RS[:1], prompts_RP[:1])  # imports are no part of the comparison

    groups = images_VSPND.reshape(-1, work.images, work.width)
    ours_alone_s, _ = timed(lambda: wasserstein_many(groups, photos_MD))
    once_alone_s, _ = timed(lambda: distances_by_pot(images_VSPND, photos_MD))
    ours_s, (distances_VSP, means_VR) = timed(lambda: ours(*given))
    once_s, (once_VSP, once_VR) = timed(lambda: plain_once(*given))
    some_s, some_VR = timed(lambda: plain(images_VSPND, photos_MD, seeds_RS[few], prompts_RP[few]))
    ends, once_ends = (np.quantile(means[:, 1:], [0.025, 0.975], axis=1) for means in (means_VR, once_VR))
    return {
        "plain_s": some_s * work.resamples / work.timed,
        "once_s": once_s,
        "ours_s": ours_s,
        "once_alone_s": once_alone_s,
        "ours_alone_s": ours_alone_s,
        "distances_differ": float(np.abs(distances_VSP - once_VSP).max()),
        "means_differ": float(np.abs(means_VR[:, few] - some_VR).max()),
        "intervals_differ": float(np.abs(ends - once_ends).max()),
    }


def print_comparison(console: Console, work: Work, found: dict[str, float]) -> None:
    title = (
        f"{work.variants} variants × {work.seeds} seeds × {work.prompts} prompts × {work.images} images, {work.photos} "
        f"photos, {work.width} dimensions, {work.resamples:,} resamples"
    )
    table = Table("", "plain, s", "ours, s", "faster by", title=title, title_justify="left")
    for name, theirs, own in (
        ("a POT call per image set and resample*", "plain_s", "ours_s"),
        ("a POT call per image set, a loop over resamples", "once_s", "ours_s"),
        ("the distances alone, each once", "once_alone_s", "ours_alone_s"),
    ):
        table.add_row(name, f"{found[theirs]:.3g}", f"{found[own]:.3g}", f"{found[theirs] / found[own]:,.0f} ×")
    console.print(table)
    console.print(
        f"* scaled from {work.timed} resamples. Largest difference: distances {found['distances_differ']:.1e}, "
        f"resampled means {found['means_differ']:.1e}, ends of the intervals {found['intervals_differ']:.1e}"
    )


# ── Cost curves ────────────────────────────────────────────────────────────────────────────────


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
            command = [sys.executable, __file__, "--point", curve, str(size), str(width)]
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
            axis.plot([p["size"] for p in own], [p[field] for p in own], color=colour, label=curve)
            for point in own:
                face = colour if point["method"] == "exact" else "white"
                axis.plot(point["size"], point[field], "o", color=colour, markerfacecolor=face)
        axis.set(xscale="log", yscale="log" if field == "seconds" else "symlog", xlabel="embeddings", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(title="a set's distance, or all scores")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=Work().resamples)
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="most embeddings of the cost curves")
    parser.add_argument("--output", type=Path, default=Path("build/bench-score.png"))
    parser.add_argument("--point", nargs=3, metavar=("CURVE", "SIZE", "WIDTH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        curve, size, width = arguments.point
        print(json.dumps(measure(curve, int(size), int(width))))
        return
    console, work = Console(), Work(resamples=arguments.resamples)
    found = compare(work)
    print_comparison(console, work, found)
    points = cost_curves([size for size in SIZES if size <= arguments.largest], work.width)
    print_curves(console, points)
    plot(points, arguments.output)
    console.print(f"plot: {arguments.output}")
    worst = max(value for name, value in found.items() if name.endswith("differ"))
    if worst > TOLERANCE:
        sys.exit(f"numbers differ by {worst:.1e}, more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
