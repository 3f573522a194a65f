"""One pass at full shape before the first step: the memory and time that the training will take.

It changes nothing: gradients are dropped, no weight is touched, and the global generators get
their state back. Where memory runs out, smaller settings are tried in the same way, and the
error names the first that fit.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator

from aelif.config import TrainConfig
from aelif.models.adapter import ModelAdapter
from aelif.progress import StepProgress
from aelif.train.batch import Row, draw_batch, plan_rows
from aelif.train.devices import seeded
from aelif.train.job import TrainJob
from aelif.train.loop import Samples, Training
from aelif.train.loss import DenoisingLoss
from aelif.train.optimizer import STATE_BYTES

_CPU_SHORTAGE = ("DefaultCPUAllocator", "not enough memory", "could not create a primitive", "Cannot allocate memory")
"""How PyTorch, oneDNN and safetensors word what is a plain RuntimeError on CPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one pass took."""

    memory_bytes: int
    """Peak: of the GPU's memory, or of the whole process on a CPU."""
    pass_s: float


def preflight(
    training: Training,
    *,
    remaining: int,
    reopen: Callable[[TrainJob], ModelAdapter],
    progress: StepProgress,
) -> None:
    """Run one pass, and say what memory and time the training needs.

    Args:
        training: before its next step.
        remaining: steps to take.
        reopen: opens the base model again, to try other settings.
        progress: told the needs, in an event ``preflight``.

    Raises:
        MemoryError: if memory runs out; names the first settings that fit.
    """
    if not remaining:
        return
    job, accelerator = training.job, training.accelerator
    loss = accelerator.unwrap_model(training.loss)
    try:
        need = measure(loss, training.adapter, training.samples, job=job, accelerator=accelerator)
    except MemoryError as error:
        shortage = error.with_traceback(None)  # its frames hold tensors
    else:
        passes = remaining * job.config.gradient_accumulation
        progress.emit(
            "preflight", memory_gib=round(need.memory_bytes / 2**30, 3), device=accelerator.device.type,
            pass_s=round(need.pass_s, 4), training_s=round(need.pass_s * passes, 1),
        )  # fmt: skip
        return
    _drop(training)
    raise MemoryError(_proposal(training, reopen)) from shortage


def measure(
    loss: DenoisingLoss, adapter: ModelAdapter, samples: Samples, *, job: TrainJob, accelerator: Accelerator
) -> Need:
    """Return what a pass needs beside the optimizer's state.

    The largest pass is taken: all rows of the largest latents. It runs twice, the first time to warm up.

    Raises:
        MemoryError: if memory runs out; says in whose words.
    """
    device, seed = accelerator.device, job.trial.seed
    rows = largest_rows(samples, job=job)
    try:
        with seeded(seed, "train/preflight", device=device):
            reserved = _reserve(loss, job.config, device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            for _ in range(2):
                began = time.perf_counter()
                with accelerator.autocast():
                    value = loss(draw_batch(adapter, rows, step=0, seed=seed, config=job.config))
                value.backward()
                value.item()  # waits for the device
                took = time.perf_counter() - began
                loss.zero_grad(set_to_none=True)
            del reserved
    except RuntimeError as error:
        if not _is_shortage(error):
            raise
        words = str(error)
    else:
        return Need(memory_bytes=_peak(device), pass_s=took)
    raise MemoryError(words)  # outside of the handler: the first error's frames hold tensors


def largest_rows(samples: Samples, *, job: TrainJob) -> list[Row]:
    """Return the rows of a pass in which every photo has the largest photo's shape."""
    rows = plan_rows(samples.instance, samples.prior, step=0, seed=job.trial.seed, config=job.config, processes=1)[0]
    sizes = [moments[0, 0].numel() for moments in samples.instance.moments]
    return [replace(row, sample=sizes.index(max(sizes))) if row.instance else row for row in rows]


def _reserve(loss: DenoisingLoss, config: TrainConfig, device: torch.device) -> Any:
    """Return memory as large as what the optimizer and the average will keep."""
    count = sum(parameter.numel() for parameter in loss.parameters() if parameter.requires_grad)
    kept = STATE_BYTES[config.optimizer.name] + (4 if config.ema_decay else 0)
    return torch.empty(count * kept, dtype=torch.uint8, device=device)


def _is_shortage(error: BaseException | None) -> bool:
    """Return whether memory ran out, by an error or one in whose handling it arose."""
    if error is None:
        return False
    is_one = isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _CPU_SHORTAGE)
    return is_one or _is_shortage(error.__context__)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _drop(training: Training) -> None:
    """Free the weights of a training that will not be: what is tried instead needs the room."""
    module = training.accelerator.unwrap_model(training.loss)
    module.zero_grad(set_to_none=True)
    for tensor in (*module.parameters(), *module.buffers(), *training.average.tensors.values()):
        tensor.data = tensor.data.new_empty(0)
    training.adapter.release("text", "autoencoder")


def _proposal(training: Training, reopen: Callable[[TrainJob], ModelAdapter]) -> str:
    """Return the error message: the first smaller settings that fit."""
    job, accelerator, samples = training.job, training.accelerator, training.samples
    for changes, config in smaller_settings(job.config):
        gc.collect()
        if accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        if _fits(replace(job, config=config), accelerator, samples, reopen):
            return f"out of memory at {_words(job.config)}; this fits: {changes}"
    return (f"out of memory at {_words(job.config)}, and even at {changes}; give a smaller image_size, "
            "or a device with more memory")  # fmt: skip


def _fits(
    job: TrainJob, accelerator: Accelerator, samples: Samples, reopen: Callable[[TrainJob], ModelAdapter]
) -> bool:
    """Return whether a pass of a fresh model fits."""
    try:
        adapter = reopen(job)
        adapter.prepare_training(job.config, seed=job.trial.seed)
        book = replace(samples.book, adapter=adapter)
        loss = DenoisingLoss(adapter, book, trial=job.trial, config=job.config).train()
        measure(loss, adapter, replace(samples, book=book), job=job, accelerator=accelerator)
    except MemoryError:
        return False
    except (RuntimeError, OSError) as error:  # the latter from reading the weights
        if not _is_shortage(error):
            raise
        return False
    return True


def smaller_settings(config: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    """Yield settings that need ever less memory, each with its changes in words.

    First what changes no result but for rounding: gradient checkpointing, then ever smaller passes,
    as many more of them. Then adapters instead of all weights.
    """
    changes: dict[str, object] = {}

    def changed(**fields: Any) -> tuple[str, TrainConfig]:
        nonlocal config
        changes.update(fields)
        config = replace(config, **fields)
        return ", ".join(f"{name} = {value!r}" for name, value in changes.items()), config

    if not config.gradient_checkpointing:
        yield changed(gradient_checkpointing=True)
    while config.batch_size > 1:
        # An odd batch becomes slightly smaller in all rather than larger.
        yield changed(batch_size=config.batch_size // 2, gradient_accumulation=config.gradient_accumulation * 2)
    if config.method == "full":
        yield changed(method="lora")
    if config.lora.text_encoders:
        yield changed(lora=replace(config.lora, text_encoders=False))


def _words(config: TrainConfig) -> str:
    """Return the settings that decide about memory."""
    return (f"batch_size = {config.batch_size}, method = {config.method!r}, "
            f"gradient_checkpointing = {config.gradient_checkpointing}")  # fmt: skip
