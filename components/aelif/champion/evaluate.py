"""The champion's images and scores of this run's prompts, as a trial of the run would have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aelif.artifacts import Embeddings, new_folder, score_schema, write_image_records, write_table
from aelif.config import ScoreConfig, StressConfig, SynthesisConfig, Trial, Variant
from aelif.embed.folders import embed_folders
from aelif.models.resolve import resolve_exactly
from aelif.progress import StepProgress
from aelif.registry.models import open_registered
from aelif.score.trial import score_trial
from aelif.synthesize.sampler import generate_images


def evaluate(
    uri: str,
    *,
    tracking_uri: str,
    prompts: Sequence[Mapping[str, Any]],
    reference: Embeddings,
    stress: StressConfig,
    synthesis: SynthesisConfig,
    score: ScoreConfig,
    images: Path,
    scores: Path,
    progress: StepProgress,
) -> None:
    """Write images and scores of a registered model, generated on the base model that it was trained on.

    They are those of the trial that it was registered from, to the last bit, if prompts, synthesis,
    scorer and photos are the same: the noise depends on none of the run's models.

    Args:
        uri: ``models:/name/version``.
        tracking_uri: the store.
        prompts: rows of `aelif.artifacts.read_prompts`.
        reference: embeddings of the photos.
        stress: settings of the stress rows' augmentations.
        synthesis: steps, guidance, seed, images per prompt.
        score: scorer.
        images: image folder to write.
        scores: Parquet file to write, with the columns of `score_schema` and variant ``champion@VERSION``, seed 0.
        progress: told the images.

    Raises:
        ValueError: if there is no such model, or its base model cannot be had or is another one now.
        TrackingError: if the store fails, or the version's files are gone.
    """
    images.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=images.parent, prefix=".champion-") as scratch:
        held = open_registered(uri, Path(scratch) / "trained", tracking_uri=tracking_uri)
        base = Path(scratch) / "base"
        resolve_exactly(held.base_uri, base, digest=held.base_digest, owner=uri, tracking_uri=tracking_uri)
        generate_images(base=base, model=held.trained, prompts=prompts, output=images, config=synthesis, stress=stress,
                        shard=0, num_shards=1, progress=progress)  # fmt: skip
    generated = embed_folders([images], score, progress)
    trial = Trial(variant=Variant(champion=held.version), seed=0)
    write_table(scores, score_trial(reference, generated, prompts, trial), score_schema())


def write_nothing(images: Path, scores: Path) -> None:
    """Write an empty image folder and an empty table: there is no champion."""
    with new_folder(images) as folder:
        write_image_records(folder, [])
    write_table(scores, [], score_schema())
