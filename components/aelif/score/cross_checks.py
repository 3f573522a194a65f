"""Other distances between a variant's images and the photos, of whole sets of images at once.

The distance of this project is a mean over prompts of exact distances of few images. Here all images of
a prompt set are one sample, per training seed: what such distances agree on does not hang on our choice.

Legend: N images, M photos, D dimensions, L rows of resampled statistics, G prompts of a set, U units of prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from aelif.score.comparison import Comparison
from aelif.score.frechet import frechet_distance
from aelif.score.intervals import Interval
from aelif.score.kernel import block_means, mmd2, polynomial, rbf
from aelif.score.wasserstein import set_distance

SETS = ("clean", "perturbed")
KERNELS = {"cmmd": rbf(), "kid": polynomial()}


def cross_check(
    comparison: Comparison, images: Sequence[Mapping[int, np.ndarray]], photos_MD: np.ndarray
) -> dict[str, dict[str, Interval]]:
    """Return for clean and perturbed prompts W1, CMMD, KID and the Fréchet distance, as means over seeds.

    The MMDs have intervals by the same weights of seeds and prompts as everything else. The other
    two have none: both are biased by the number of images, which a resample changes.

    Args:
        comparison: draws of the run.
        images: per training seed, prompt_id → (n, D) embeddings of one variant.
        photos_MD: embeddings of the training images.
    """
    return {name: _check_set(comparison, name, images, photos_MD) for name in SETS}


def _check_set(
    comparison: Comparison, name: str, images: Sequence[Mapping[int, np.ndarray]], photos_MD: np.ndarray
) -> dict[str, Interval]:
    grid, draws = comparison.grid, comparison.draws
    columns = grid.sets[name]
    prompt_ids = [grid.prompts[column]["prompt_id"] for column in columns]
    place_G, weights_LU = draws.unit_weights(columns)
    units_N = np.repeat(place_G, grid.num_images)
    pools = [np.concatenate([trial[prompt_id] for prompt_id in prompt_ids]) for trial in images]
    figures = {"w1": _alone([set_distance(pool_ND, photos_MD)[0] for pool_ND in pools])}
    for metric, kernel in KERNELS.items():
        per_seed = [mmd2(block_means(pool_ND, units_N, photos_MD, kernel=kernel), weights_LU) for pool_ND in pools]
        mean_L = (np.stack(per_seed, axis=1) * draws.seeds).sum(axis=1)
        figures[metric] = comparison.interval(draws.hold(mean_L[None], columns)[0])
    return {**figures, "frechet": _alone([frechet_distance(pool_ND, photos_MD) for pool_ND in pools])}


def _alone(values: Sequence[float]) -> Interval:
    mean = float(np.mean(values))
    return {"value": mean if np.isfinite(mean) else None, "low": None, "high": None}
