"""Whether settings fit a base model, asked before any work is spent on them."""

from __future__ import annotations

from aelif.config import DataConfig, TrainConfig, require
from aelif.models.adapter import ModelAdapter
from aelif.randomness import torch_generator


def check_fit(adapter: ModelAdapter, *, data: DataConfig, config: TrainConfig) -> None:
    """Refuse settings that the base model's family cannot do; loads no weights.

    Raises:
        ValueError: names the setting, its value and the remedy.
    """
    multiple = adapter.size_multiple
    below = max(multiple, data.image_size // multiple * multiple)
    require(data.image_size % multiple == 0, "image_size", data.image_size,
            f"{adapter.family} takes multiples of {multiple}, such as {below}")  # fmt: skip
    require(adapter.masks_attention or not config.augmentation.mask_attention, "mask_attention", True,
            f"the denoiser of {adapter.family} reads no attention mask; turn it off")  # fmt: skip
    times_1 = adapter.draw_times(1, torch_generator(0, "train/check"), sampling=config.time_sampling)
    adapter.loss_weight(times_1, weighting=config.loss_weighting, snr_gamma=config.snr_gamma)
