"""What stops a training before anything broken is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

SKIPS = 20
"""Steps in a row that float16 may skip while its loss scale is found."""


def check_finite(
    losses_T: Tensor,
    norms_T: Tensor,
    weights: Iterable[Tensor],
    *,
    skips: int,
    learning_rate: float,
    files_of: Callable[[int], Sequence[str]],
) -> None:
    """Stop before anything broken is stored.

    Args:
        losses_T: loss of every step done.
        norms_T: gradient norm of every step done.
        weights: the trained weights after these steps.
        skips: gradients in a row that may overflow, because the step is skipped then (float16).
        learning_rate: for the message.
        files_of: step → the files that it saw.

    Raises:
        FloatingPointError: names the first step whose loss or gradient is not finite, or the last one if only the
            weights are not, and its files.
    """
    broken_T = ~losses_T.isfinite() | _too_many(~norms_T.isfinite(), skips)
    finite = torch.stack(torch._foreach_norm([w.detach() for w in weights], torch.inf)).isfinite().all()
    if not bool(broken_T.any() | ~finite):
        return
    step = int(broken_T.nonzero()[0]) if bool(broken_T.any()) else len(losses_T) - 1
    what = "" if bool(broken_T.any()) else "weights are no longer finite after "
    raise FloatingPointError(
        f"{what}step {step + 1}: loss {losses_T[step].item():g}, gradient norm {norms_T[step].item():g}, from "
        f"{', '.join(files_of(step))}; lower learning_rate ({learning_rate:g}) or leave these files out"
    )


def _too_many(flags_T: Tensor, allowed: int) -> Tensor:
    """Return which flags end a run of more than `allowed` flags."""
    if not allowed:
        return flags_T
    runs_T = torch.zeros_like(flags_T)
    if len(flags_T) > allowed:
        runs_T[allowed:] = flags_T.unfold(0, allowed + 1, 1).all(dim=1)
    return runs_T
