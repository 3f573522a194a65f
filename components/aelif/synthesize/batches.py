"""Which images a run consists of, in which batches, and which shard computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aelif.artifacts import ImageRecord, image_name
from aelif.config import SynthesisConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """One image to generate."""

    row: Mapping[str, Any]
    """Its prompt's row of the prompt table."""
    index: int
    """Its number among the images of the prompt."""

    @property
    def file_name(self) -> str:
        """Name in the image folder."""
        return image_name(self.row["prompt_id"], self.index)

    def record(self) -> ImageRecord:
        """Return its line of the image folder."""
        return ImageRecord(
            file_name=self.file_name, text=self.row["prompt"], prompt_id=self.row["prompt_id"], image_index=self.index
        )


def batches_of_shard(
    prompts: Sequence[Mapping[str, Any]], config: SynthesisConfig, *, shard: int, num_shards: int
) -> list[list[PlannedImage]]:
    """Return the batches of one shard: of all batches of the run, those whose number modulo `num_shards` is `shard`.

    The run's images are ordered by prompt and number, and cut into batches of `batch_size`; the last
    one holds what remains. So a batch is the same whatever the number of shards; of more shards than
    batches, the last ones have none.

    Raises:
        ValueError: if there are no prompts, or the shard does not exist.
    """
    if not 0 <= shard < num_shards:
        raise ValueError(f"shard = {shard}: give one from 0 to {num_shards - 1}")
    if not prompts:
        raise ValueError("prompts: the table has none to generate images of; give at least one template")
    rows = sorted(prompts, key=lambda row: row["prompt_id"])
    images = [PlannedImage(row=row, index=index) for row in rows for index in range(config.images_per_prompt)]
    size = config.batch_size
    batches = [images[first : first + size] for first in range(0, len(images), size)]
    return batches[shard::num_shards]
