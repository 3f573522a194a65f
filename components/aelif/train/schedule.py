"""Learning-rate schedules: pure functions of the optimizer step, whatever accumulation or devices there are."""

from __future__ import annotations

import math

from aelif.config import OptimizerConfig


def rate_factor(step: int, *, steps: int, config: OptimizerConfig) -> float:
    """Return what the peak learning rate is multiplied by at an optimizer step, in (0, 1].

    A linear warm-up over the first `warmup` share of the steps, at its peak with its last one; then
    a cosine or a line that would reach 0 one step after the last, or nothing.

    Args:
        step: from 0 to steps - 1.
        steps: optimizer steps in all.
        config: shape and warm-up.
    """
    warmup = min(max(1, round(config.warmup * steps)), steps) if config.warmup else 0
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / (steps - warmup)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress if config.schedule == "linear" else 1.0
