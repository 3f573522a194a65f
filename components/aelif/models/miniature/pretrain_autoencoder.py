"""Pretraining of the autoencoder: both halves together, then the decoder alone against fixed latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from aelif.models.miniature.architecture import build_autoencoder
from aelif.models.miniature.data import read_scenes, to_images, to_pixels
from aelif.models.miniature.loop import pretrain
from aelif.randomness import numpy_generator, torch_generator


def pretrain_autoencoder(work: Path, *, steps: int, seed: int) -> None:
    """Train the autoencoder on pixels: squared and absolute error, and a very small KL term."""
    data = read_scenes(work / "train")
    torch.manual_seed(seed)  # initial weights are drawn by the library from the global generator
    model = build_autoencoder().train()

    def loss_of_step(step: int) -> Tensor:
        picks = numpy_generator(seed, "autoencoder/batch", step).integers(len(data.images), size=8)
        pixels = to_pixels(data.images[picks])
        posterior = model.encode(pixels).latent_dist
        latents = posterior.sample(torch_generator(seed, "autoencoder/posterior", step))
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        return _error(model.decode(latents).sample, pixels) + 1e-4 * kl

    pretrain(model, loss_of_step, folder=work / "autoencoder", steps=steps, learning_rate=1.5e-3)
    finish_autoencoder(work, data.images, model)


@torch.no_grad()
def finish_autoencoder(work: Path, images: np.ndarray, model: Any) -> None:
    """Encode every image once and set the scaling factor that makes latents unit variance."""
    model.eval()
    chunks = [model.encode(to_pixels(images[i : i + 64])).latent_dist for i in range(0, len(images), 64)]
    mean, std = torch.cat([c.mean for c in chunks]), torch.cat([c.std for c in chunks])
    model.register_to_config(scaling_factor=round(float(1 / mean.std()), 4))
    model.save_pretrained(work / "autoencoder" / "model")
    save_file({"mean": mean.contiguous(), "std": std.contiguous()}, work / "autoencoder" / "latents.safetensors")


def pretrain_decoder(work: Path, *, steps: int, seed: int) -> None:
    """Train the decoder further on the latents as they are: sharper images, and nothing for a denoiser to unlearn."""
    from diffusers import AutoencoderKL

    images = read_scenes(work / "train").images
    latents = load_file(work / "autoencoder" / "latents.safetensors")
    model = AutoencoderKL.from_pretrained(work / "autoencoder" / "model").train()
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)

    def loss_of_step(step: int) -> Tensor:
        picks = numpy_generator(seed, "decoder/batch", step).integers(len(images), size=16)
        mean, std = (latents[name][torch.from_numpy(picks)] for name in ("mean", "std"))
        noise = torch.randn(mean.shape, generator=torch_generator(seed, "decoder/posterior", step))
        return _error(model.decode(mean + std * noise).sample, to_pixels(images[picks]))

    pretrain(model, loss_of_step, folder=work / "decoder", steps=steps, learning_rate=1e-3)
    model.save_pretrained(work / "decoder" / "model")


def _error(decoded: Tensor, pixels: Tensor) -> Tensor:
    error = decoded - pixels
    return error.square().mean() + 0.1 * error.abs().mean()


@torch.no_grad()
def decode_latents(work: Path, count: int) -> np.ndarray:
    """Return the first `count` training images as the autoencoder gives them back, (N, 64, 64, 3) uint8."""
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(work / "decoder" / "model").eval()
    latents = load_file(work / "autoencoder" / "latents.safetensors")["mean"][:count]
    return np.concatenate([to_images(model.decode(chunk).sample) for chunk in latents.split(64)])
