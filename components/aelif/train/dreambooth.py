"""DreamBooth (Ruiz et al., arXiv 2208.12242) on cached latents and text conditions.

Everything random is a function of (seed, purpose, step): an interrupted training that resumes
ends with the very bits of an uninterrupted one, and variants of one seed see the same samples,
noise and times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aelif.artifacts import digest_of, digest_of_folder, new_folder, sha256_of, write_json
from aelif.checkpoint import checkpoint_key, load_checkpoint, save_checkpoint
from aelif.config import DataConfig, TrainConfig, Trial, to_dict
from aelif.models.adapter import ModelAdapter, open_model
from aelif.progress import StepProgress
from aelif.train.batch import Batch, draw_batch
from aelif.train.cache import SampleSet, cache_class, cache_instance

CHECK_EVERY = 10
"""Steps between looks at the losses: each look makes an accelerator wait."""
_WARMUP = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a training did."""

    losses: tuple[float, ...]
    """Loss of every step."""
    resumed_from: int
    """Steps found in a checkpoint; 0 without one."""
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Samples:
    instance: SampleSet
    prior: SampleSet | None


def fine_tune(
    *,
    base: Path,
    photos: Path,
    class_images: Path | None,
    output: Path,
    trial: Trial,
    data: DataConfig,
    config: TrainConfig,
    checkpoint_dir: Path | None,
    progress: StepProgress,
) -> TrainReport:
    """Train one variant with one seed and write the model folder.

    The folder holds `pytorch_lora_weights.safetensors` (LoRA) or `unet/` (full), as stock
    diffusers loads them, and `aelif.json`: variant, seed, settings, digests, losses.

    Args:
        base: diffusers folder of the base model.
        photos: image folder of the subject, captions in its records.
        class_images: image folder of the class; needed with prior preservation, unused without.
        output: the folder to write.
        trial: variant and seed.
        data: prompts and image size.
        config: training settings.
        checkpoint_dir: where checkpoints go, any number of trials beside one another; None: no checkpoints.
        progress: told the steps.

    Raises:
        ValueError: for photos or settings that do not fit.
        FloatingPointError: if a loss or gradient is not finite; names the step and its files.
    """
    prior = class_images if config.prior_preservation else None
    if config.prior_preservation and prior is None:
        raise ValueError("prior_preservation = True: it needs class images; give them or turn it off")
    origin = _origin(base, photos, prior, trial=trial, data=data, config=config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = device.type == "cuda" and config.method == "lora"  # frozen weights need no float32 master copy
    adapter = open_model(base, device=device, dtype=torch.bfloat16 if half else torch.float32)
    samples = _Samples(
        instance=cache_instance(adapter, photos, data=data, config=config, seed=trial.seed, progress=progress),
        prior=cache_class(adapter, prior, data=data) if prior else None,
    )
    adapter.release("text", "autoencoder")
    key = digest_of({**origin, "device": device.type})
    checkpoint = checkpoint_dir / f"{key[:24]}.safetensors" if checkpoint_dir else None
    losses_T, resumed_from = _run_steps(
        adapter, samples, trial=trial, config=config, image_size=data.image_size,
        device=device, checkpoint=checkpoint, key=key, progress=progress,
    )  # fmt: skip
    losses = tuple(losses_T.tolist())
    sha256 = _write_model(adapter, output, origin={**origin, "family": adapter.family}, losses=losses, config=config)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return TrainReport(losses=losses, resumed_from=resumed_from, weights_sha256=sha256)


def _origin(
    base: Path, photos: Path, prior: Path | None, *, trial: Trial, data: DataConfig, config: TrainConfig
) -> dict[str, Any]:
    """Return everything that the trained weights depend on: settings, and digests of what was read."""
    return {
        "variant": str(trial.variant),
        "seed": trial.seed,
        "instance_prompt": data.instance_prompt,
        "class_prompt": data.class_prompt,
        "image_size": data.image_size,
        "config": to_dict(config),
        "base": digest_of_folder(base),
        "photos": digest_of_folder(photos),
        "class_images": digest_of_folder(prior) if prior else None,
    }


def _run_steps(
    adapter: ModelAdapter,
    samples: _Samples,
    *,
    trial: Trial,
    config: TrainConfig,
    image_size: int,
    device: torch.device,
    checkpoint: Path | None,
    key: str,
    progress: StepProgress,
) -> tuple[Tensor, int]:
    """Take the optimizer steps; return the loss of each (T,), and how many a checkpoint had done."""
    weights = adapter.prepare_training(method=config.method, rank=config.rank, seed=trial.seed)
    optimizer = torch.optim.AdamW(weights.values(), lr=config.learning_rate, weight_decay=1e-2, fused=True)
    losses_T, norms_T = torch.zeros(config.steps, device=device), torch.zeros(config.steps, device=device)
    state: dict[str, Tensor] = {**weights, "losses": losses_T, "norms": norms_T}
    start = 0
    if checkpoint and checkpoint_key(checkpoint) == key:
        start = load_checkpoint(checkpoint, state, optimizer)
    snr_gamma = config.snr_gamma if config.loss_weighting == "min_snr" else None
    for step in range(start, config.steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, config)
        batch = draw_batch(adapter, samples.instance, samples.prior, step=step, trial=trial, config=config)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = denoising_loss(adapter, batch, snr_gamma=snr_gamma, image_size=image_size)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms_T[step] = nn.utils.clip_grad_norm_(weights.values(), config.max_grad_norm)
        optimizer.step()
        losses_T[step] = loss.detach()
        done = step + 1
        saving = checkpoint is not None and done % config.checkpoint_every == 0
        if saving or done % CHECK_EVERY == 0 or done == config.steps:
            _check_finite(losses_T[:done], norms_T[:done], adapter, samples, trial=trial, config=config)
            progress.advance(done, config.steps, "steps")
        if saving and checkpoint is not None:
            save_checkpoint(checkpoint, state, optimizer, step=done, key=key)
    return losses_T, start


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Return the rate of an optimizer step: linear warm-up over a twentieth of them, then cosine towards 0."""
    warmup = max(1, round(_WARMUP * config.steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (config.steps - warmup)))


def denoising_loss(adapter: ModelAdapter, batch: Batch, *, snr_gamma: float | None, image_size: int) -> Tensor:
    """Return the mean over instance rows plus `prior_weight` times the mean over class rows, as a scalar.

    A row's loss is its squared error averaged over the latents, times its min-SNR weight.
    """
    noisy_BCHW = adapter.add_noise(batch.latents, batch.noise, batch.times)
    prediction_BCHW = adapter.predict(noisy_BCHW, batch.times, batch.condition, image_size=image_size)
    target_BCHW = adapter.target(batch.latents, batch.noise, batch.times)
    error_B = (prediction_BCHW - target_BCHW).square().mean(dim=(1, 2, 3))
    return (batch.weights * adapter.loss_weight(batch.times, snr_gamma=snr_gamma) * error_B).sum()


def _check_finite(
    losses_T: Tensor, norms_T: Tensor, adapter: ModelAdapter, samples: _Samples, *, trial: Trial, config: TrainConfig
) -> None:
    """Stop before anything broken is stored.

    Raises:
        FloatingPointError: names the first step whose loss or gradient is not finite, and its files.
    """
    finite_T = losses_T.isfinite() & norms_T.isfinite()
    if bool(finite_T.all()):
        return
    step = int((~finite_T).nonzero()[0])
    batch = draw_batch(adapter, samples.instance, samples.prior, step=step, trial=trial, config=config)
    raise FloatingPointError(
        f"step {step + 1}: loss {losses_T[step].item():g}, gradient norm {norms_T[step].item():g}, from "
        f"{', '.join(batch.files)}; lower learning_rate ({config.learning_rate:g}) or leave these files out"
    )


def _write_model(
    adapter: ModelAdapter, output: Path, *, origin: dict[str, Any], losses: tuple[float, ...], config: TrainConfig
) -> str:
    """Write weights and `aelif.json` and return the weights' SHA-256."""
    with new_folder(output) as folder:
        sha256 = sha256_of(adapter.save_trained(folder, method=config.method))
        curve = [{"step": step + 1, "loss": round(loss, 6)} for step, loss in enumerate(losses)]
        write_json(folder / "aelif.json", {"schema": 1, **origin, "weights_sha256": sha256, "losses": curve})
    return sha256
