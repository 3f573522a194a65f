"""Scoring beside the plain way, and its cost from 100 to 100,000 embeddings: `make bench-score`.

Plain: a POT call for every image set in every resample, as one writes it first; and, fairer, a POT call
for every image set once and a loop over the resamples. Ours: `wasserstein_many`, and resampled means as
matrix products. All get the same weights, and must give the same numbers. Times are processor
seconds: other work on the machine does not count. Memory is read from Linux's /proc.

Legend: V variants, S training seeds, P prompts, N images per prompt, M photos, D dimensions, R resamples.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scoring_cost import cost_curves, plot, print_curves, timed, unit_rows

from aelif.score.draws import Draws, make_draws

SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
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
    images_VSPND: np.ndarray, photos_MD: np.ndarray, draws: Draws, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same, as scoring does it."""
    from aelif.score.wasserstein import wasserstein_many

    groups = images_VSPND.reshape(-1, *images_VSPND.shape[-2:])
    distances_VSP = wasserstein_many(groups, photos_MD).reshape(images_VSPND.shape[:3])
    return distances_VSP, draws.means(distances_VSP, range(distances_VSP.shape[2]))[:, : resamples + 1]


def compare(work: Work) -> dict[str, float]:
    """Return seconds of the three ways, and of the distances alone, and how far their numbers lie apart.

    `plain_s` is scaled from `work.timed` resamples; everything else is timed in full.
    """
    from aelif.score.wasserstein import wasserstein_many

    shape = (work.variants, work.seeds, work.prompts, work.images, work.width)
    images_VSPND = unit_rows(int(np.prod(shape[:-1])), work.width, 0).reshape(shape)
    photos_MD = unit_rows(work.photos, work.width, 1)
    clusters_P = [prompt // work.versions for prompt in range(work.prompts)]
    draws, rows = make_draws(work.seeds, clusters_P, work.clean_prompts, work.resamples), slice(work.resamples + 1)
    place_P, units_LU = draws.unit_weights(range(work.prompts))
    seeds_RS, prompts_RP = draws.seeds[rows], (units_LU / np.bincount(place_P))[rows, place_P]
    given = (images_VSPND, photos_MD, seeds_RS, prompts_RP)
    few = slice(1, work.timed + 1)
    plain(images_VSPND, photos_MD, seeds_RS[:1], prompts_RP[:1])  # imports are no part of the comparison

    groups = images_VSPND.reshape(-1, work.images, work.width)
    ours_alone_s, _ = timed(lambda: wasserstein_many(groups, photos_MD))
    once_alone_s, _ = timed(lambda: distances_by_pot(images_VSPND, photos_MD))
    ours_s, (distances_VSP, means_VR) = timed(lambda: ours(images_VSPND, photos_MD, draws, work.resamples))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=Work().resamples)
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="most embeddings of the cost curves")
    parser.add_argument("--output", type=Path, default=Path("build/bench-score.png"))
    arguments = parser.parse_args()
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
