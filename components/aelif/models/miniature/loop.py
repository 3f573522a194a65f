"""The pretraining loop that all parts share: AdamW, cosine schedule, average of weights, resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from aelif.average import WeightAverage
from aelif.checkpoint import load_checkpoint, save_checkpoint
from aelif.progress import StepProgress


def pretrain(
    model: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    *,
    folder: Path,
    steps: int,
    learning_rate: float,
    ema_decay: float = 0.999,
    weight_decay: float = 0.01,
    save_every: int = 250,
) -> None:
    """Train `model` in place and leave it holding the exponential average of its weights.

    Interrupted, it goes on from the last checkpoint in `folder`; since every loss depends on
    its step alone, the result is the same. Losses go to `folder/log.jsonl`.

    Args:
        model: what to train.
        loss_of_step: optimizer step → scalar loss; draws its batch from keyed generators.
        folder: receives `checkpoint.safetensors` and `log.jsonl`.
        steps: optimizer steps in all.
        learning_rate: peak of the schedule (3 % linear warm-up, then cosine to a fiftieth).
        ema_decay: decay of the average, shorter at the beginning.
        weight_decay: AdamW's.
        save_every: steps between checkpoints.
    """
    weights = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    average = WeightAverage(weights, decay=ema_decay)
    progress = StepProgress("pretrain", folder.name)
    optimizer = torch.optim.AdamW(
        weights.values(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True
    )
    stored = {**weights, **average.tensors}
    path = folder / "checkpoint.safetensors"
    start = load_checkpoint(path, stored, optimizer) if path.exists() else 0
    folder.mkdir(parents=True, exist_ok=True)
    began, total = time.monotonic(), 0.0
    for step in range(start, steps):
        warmup = min(1.0, (step + 1) / (0.03 * steps))
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warmup * (0.02 + 0.98 * cosine)
        loss = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        average.update(step)
        total += loss.item()
        if (step + 1) % 50 == 0:
            rate = (step + 1 - start) / (time.monotonic() - began)
            line = {"step": step + 1, "loss": round(total / 50, 5), "steps_per_s": round(rate, 3)}
            total = 0.0
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            progress.advance(step + 1, steps, "steps")
            progress.measure({step + 1: {"pretrain/loss": line["loss"]}})
        if (step + 1) % save_every == 0 or step + 1 == steps:
            save_checkpoint(path, stored, optimizer, step=step + 1)
    average.adopt()
