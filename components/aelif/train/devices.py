"""Devices and precisions, by accelerate: one process, or one of several that `aelif.train.launch` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedDataParallelKwargs

from aelif.config import TrainConfig, require
from aelif.randomness import derive_seed

_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def open_accelerator(config: TrainConfig) -> Accelerator:
    """Return accelerate's view of this process.

    Its state is global; a process that trains alone begins with a fresh one, so that trainings
    of different precisions can follow one another.

    Raises:
        ValueError: if the device has no such precision.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    cuda = torch.cuda.is_available()
    return Accelerator(
        mixed_precision=choose_precision(config, cuda=cuda),
        gradient_accumulation_steps=config.gradient_accumulation,
        cpu=not cuda,
        kwargs_handlers=[
            # Some get no gradient: the last layer of SDXL's first text encoder, SD3's last text queries.
            DistributedDataParallelKwargs(find_unused_parameters=True)
        ],
    )


def choose_precision(config: TrainConfig, *, cuda: bool) -> Literal["no", "bf16", "fp16"]:
    """Return accelerate's name of the precision.

    Raises:
        ValueError: for fp16 on a CPU, or bf16 on a GPU without it.
    """
    chosen = config.mixed_precision
    if chosen == "auto":
        if not cuda:
            return "no"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    require(chosen != "fp16" or cuda, "mixed_precision", chosen, "it needs a GPU; give 'bf16' or 'fp32' on a CPU")
    if chosen == "bf16" and cuda:
        require(torch.cuda.is_bf16_supported(), "mixed_precision", chosen, "this GPU lacks it; give 'fp16' or 'fp32'")
    return "no" if chosen == "fp32" else chosen


def check_same_start(start: int, accelerator: Accelerator) -> None:
    """Stop a training whose processes found different checkpoints: on several nodes a volume may lag behind.

    Raises:
        RuntimeError: if they would start from different steps; trying again helps where it was only late.
    """
    if accelerator.num_processes == 1:
        return
    starts_P = accelerator.gather(torch.tensor([start], device=accelerator.device))
    if starts_P.unique().numel() > 1:
        raise RuntimeError(f"the processes found different checkpoints (steps {starts_P.tolist()}); checkpoint_root "
                           "must be one volume that all nodes see alike")  # fmt: skip


def frozen_dtype(accelerator: Accelerator, config: TrainConfig) -> torch.dtype:
    """Return the dtype of the base model's denoiser: what LoRA leaves frozen needs no float32 copy."""
    return _DTYPES[accelerator.mixed_precision] if config.method == "lora" else torch.float32


@contextmanager
def seeded(seed: int, purpose: str, *indices: int, device: torch.device) -> Iterator[None]:
    """Seed the libraries' global generators (LoRA's dropout draws from them) and give back their state afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(seed, purpose, *indices))
        yield
