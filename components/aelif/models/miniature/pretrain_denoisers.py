"""Pretraining of the denoisers on cached latents: SDXL's U-Net on noise, SD3's transformer on velocity.

Shape legend: B rows, L token positions, D, P widths of prompt and pooled embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from aelif.models.miniature.architecture import (
    IMAGE_SIZE,
    SD3_ABSENT_TOKENS,
    SD3_TOKENS,
    build_denoiser,
    build_transformer,
)
from aelif.models.miniature.data import read_scenes
from aelif.models.miniature.loop import pretrain
from aelif.models.miniature.pretrain_text import encode_captions
from aelif.randomness import numpy_generator, torch_generator

BATCH_SIZE = 32
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
}
"""SDXL's noise schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """One step's rows."""

    latents: Tensor
    """(B, 16, 8, 8), unit variance."""
    noise: Tensor
    texts: Tensor
    """(B,): row of each image's caption among all captions; the last row is the empty prompt."""
    dropped: Tensor
    """(B,) uniform in [0, 1]: which rows lose text or pooled embedding."""
    generator: torch.Generator
    """For the times."""


class _Samples:
    """Latents of every training image, and every caption encoded once."""

    def __init__(self, work: Path, *, seed: int) -> None:
        from diffusers import AutoencoderKL

        self._seed = seed
        self._latents = load_file(work / "autoencoder" / "latents.safetensors")
        self._scale = AutoencoderKL.load_config(work / "autoencoder" / "model")["scaling_factor"]
        captions = read_scenes(work / "train").captions
        distinct = sorted({text for texts in captions for text in texts})
        row_of = {text: row for row, text in enumerate(distinct)}
        self._rows = torch.tensor([[row_of[text] for text in texts] for texts in captions])
        self.prompt_embeds, self.pooled = encode_captions(work, [*distinct, ""])

    def draw(self, step: int) -> _Rows:
        """Return the rows of a step; they depend on the step alone."""
        generator = numpy_generator(self._seed, "denoiser/batch", step)
        noise_generator = torch_generator(self._seed, "denoiser/noise", step)
        picks = torch.from_numpy(generator.integers(len(self._rows), size=BATCH_SIZE))
        mean, std = self._latents["mean"][picks], self._latents["std"][picks]
        latents = (mean + std * torch.randn(mean.shape, generator=noise_generator)) * self._scale
        return _Rows(
            latents=latents,
            noise=torch.randn(latents.shape, generator=noise_generator),
            texts=self._rows[picks, int(generator.integers(self._rows.shape[1]))],
            dropped=torch.from_numpy(generator.random(BATCH_SIZE)),
            generator=noise_generator,
        )


def pretrain_unet(work: Path, *, steps: int, seed: int) -> None:
    """Train SDXL's U-Net to predict noise, min-SNR weighted (arXiv 2303.09556)."""
    from diffusers import DDPMScheduler

    samples = _Samples(work, seed=seed)
    scheduler = DDPMScheduler(**SCHEDULE)
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    time_ids = torch.tensor([[IMAGE_SIZE, IMAGE_SIZE, 0, 0, IMAGE_SIZE, IMAGE_SIZE]] * BATCH_SIZE).float()
    second_width = build_denoiser().config.projection_class_embeddings_input_dim - 6 * 32
    torch.manual_seed(seed + 2)
    model = build_denoiser().train()

    def loss_of_step(step: int) -> Tensor:
        rows = samples.draw(step)
        times = torch.randint(1000, (BATCH_SIZE,), generator=rows.generator)
        prompt_embeds, pooled = samples.prompt_embeds[rows.texts].float(), samples.pooled[rows.texts, -second_width:]
        # Unconditional rows for guidance; rows without the pooled shortcut make cross-attention learn the words.
        prompt_embeds = prompt_embeds * (rows.dropped >= 0.1)[:, None, None]
        pooled = pooled * (rows.dropped >= 0.3)[:, None]
        noisy = scheduler.add_noise(rows.latents, rows.noise, times)
        condition = {"text_embeds": pooled, "time_ids": time_ids}
        predicted = model(noisy, times, prompt_embeds, added_cond_kwargs=condition).sample
        error = (predicted - rows.noise).square().mean(dim=(1, 2, 3))
        return (error * (snr[times].clamp(max=5.0) / snr[times])).mean()

    pretrain(model, loss_of_step, folder=work / "unet", steps=steps, learning_rate=8e-4)
    model.save_pretrained(work / "unet" / "model")


def pretrain_transformer(work: Path, *, steps: int, seed: int) -> None:
    """Train SD3's transformer to predict velocity, noise - latents, at logit-normal times (arXiv 2403.03206)."""
    samples = _Samples(work, seed=seed)
    absent = torch.zeros(BATCH_SIZE, SD3_ABSENT_TOKENS, samples.prompt_embeds.shape[-1])
    empty = len(samples.pooled) - 1
    torch.manual_seed(seed + 3)
    model = build_transformer().train()

    def loss_of_step(step: int) -> Tensor:
        rows = samples.draw(step)
        times = torch.randn(BATCH_SIZE, generator=rows.generator).sigmoid()
        # As above; SD3's unconditional row is the empty prompt.
        texts = rows.texts.where(rows.dropped >= 0.1, empty)
        prompt_embeds = torch.cat([samples.prompt_embeds[texts, :SD3_TOKENS].float(), absent], dim=1)
        pooled = samples.pooled[texts.where(rows.dropped >= 0.3, empty)]
        noisy = torch.lerp(rows.latents, rows.noise, times[:, None, None, None])
        predicted = model(
            noisy, encoder_hidden_states=prompt_embeds, pooled_projections=pooled, timestep=times * 1000
        ).sample
        return (predicted - (rows.noise - rows.latents)).square().mean()

    pretrain(model, loss_of_step, folder=work / "transformer", steps=steps, learning_rate=1e-3)
    model.save_pretrained(work / "transformer" / "model")
