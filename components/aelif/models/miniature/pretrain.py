"""Pretrain the miniatures: `python -m aelif.models.miniature.pretrain all --work build/miniature`.

Stages, each resumable and seeded: data, autoencoder, scorer, text, denoiser (SDXL), transformer (SD3);
then `export` writes the packaged fp16 folders and measures them on held-out scenes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aelif.artifacts import write_json
from aelif.models.miniature.architecture import (
    SCORER,
    build_autoencoder,
)
from aelif.models.miniature.data import NUM_HELD_OUT, NUM_TRAIN, draw_scenes, read_scenes, write_scenes
from aelif.models.miniature.loop import pretrain
from aelif.models.miniature.pretrain_denoisers import pretrain_transformer, pretrain_unet
from aelif.models.miniature.pretrain_text import pretrain_text
from aelif.models.miniature.tokenizer import write_tokenizer
from aelif.randomness import numpy_generator, torch_generator

SEED = 20260
NUM_DECODED = 6000
"""Images that the scorer sees through the autoencoder."""
STEPS = {"autoencoder": 4200, "scorer": 1200, "text": 1500, "denoiser": 5500, "transformer": 5000}


def to_pixels(images: np.ndarray) -> Tensor:
    """Return (B, 3, H, W) float32 in [-1, 1] from (B, H, W, 3) uint8."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def stage_data(work: Path) -> None:
    """Render training and held-out scenes."""
    for split, count in (("train", NUM_TRAIN), ("held_out", NUM_HELD_OUT)):
        if not (work / split / "images.safetensors").exists():
            write_scenes(work / split, draw_scenes(count, seed=SEED, split=split))


def stage_autoencoder(work: Path) -> None:
    """Train the autoencoder on pixels: squared and absolute error, and a very small KL term."""
    data = read_scenes(work / "train")
    torch.manual_seed(SEED)  # initial weights are drawn by the library from the global generator
    model = build_autoencoder().train()

    def loss_of_step(step: int) -> Tensor:
        picks = numpy_generator(SEED, "autoencoder/batch", step).integers(len(data.images), size=8)
        pixels = to_pixels(data.images[picks])
        posterior = model.encode(pixels).latent_dist
        latents = posterior.sample(torch_generator(SEED, "autoencoder/posterior", step))
        error = model.decode(latents).sample - pixels
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        return error.square().mean() + 0.1 * error.abs().mean() + 1e-4 * kl

    pretrain(model, loss_of_step, folder=work / "autoencoder", steps=STEPS["autoencoder"], learning_rate=1.5e-3)
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


def stage_scorer(work: Path) -> None:
    """Train the open_clip scorer by CLIP's contrastive loss on images and their captions.

    Half of the images are seen through the autoencoder, as generated ones are: a judge of crisp
    drawings alone would measure softness, not what a picture shows.
    """
    import open_clip

    tokenizer = write_tokenizer(work / "scorer" / "tokenizer", max_tokens=SCORER["text_cfg"]["context_length"])
    data = read_scenes(work / "train")
    torch.manual_seed(SEED + 1)
    text_config = {**SCORER["text_cfg"], "vocab_size": len(tokenizer)}
    model: Any = open_clip.CLIP(**{**SCORER, "text_cfg": text_config})
    tokens = torch.stack([tokenize(tokenizer, [c[k] for c in data.captions]) for k in range(3)])

    decoded = decode_latents(work, NUM_DECODED)

    def loss_of_step(step: int) -> Tensor:
        generator = numpy_generator(SEED, "scorer/batch", step)
        crisp, soft = generator.integers(len(data.images), size=64), generator.integers(len(decoded), size=64)
        picks = np.concatenate([crisp, soft])
        pixels = to_pixels(np.concatenate([data.images[crisp], decoded[soft]]))
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(tokens[generator.integers(3), picks], normalize=True)
        logits = model.logit_scale.exp().clamp(max=100) * image @ text.T
        target = torch.arange(len(picks))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    pretrain(model, loss_of_step, folder=work / "scorer", steps=STEPS["scorer"], learning_rate=1e-3, weight_decay=0.05)
    calibrate(model.visual, np.concatenate([data.images[:1280], decoded[:1280]]))
    save_file(model.eval().state_dict(), work / "scorer" / "model.safetensors")


@torch.no_grad()
def decode_latents(work: Path, count: int) -> np.ndarray:
    """Return the first `count` training images as the autoencoder gives them back, (N, 64, 64, 3) uint8."""
    from diffusers import AutoencoderKL

    from aelif.models.miniature.quality import to_images

    model = AutoencoderKL.from_pretrained(work / "autoencoder" / "model").eval()
    latents = load_file(work / "autoencoder" / "latents.safetensors")["mean"][:count]
    return np.concatenate([to_images(model.decode(chunk).sample) for chunk in latents.split(64)])


@torch.no_grad()
def calibrate(visual: nn.Module, images: np.ndarray) -> None:
    """Recompute batch-norm statistics for the averaged weights, from scratch; batches are taken evenly."""
    for module in visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # cumulative mean
            module.reset_running_stats()
    visual.train()
    for batch in range(len(images) // 128):
        visual(to_pixels(images[batch :: len(images) // 128]))


def tokenize(tokenizer: Callable[..., dict[str, Tensor]], prompts: list[str]) -> Tensor:
    """Return (B, L) token ids, padded with zeros after the end as open_clip does."""
    batch = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
    return batch["input_ids"] * batch["attention_mask"]


def stage_export(work: Path) -> None:
    """Write the packaged folders, and measure them on held-out scenes."""
    from aelif.models.miniature.export import WEIGHTS, export_scorer, export_sd3, export_sdxl
    from aelif.models.miniature.quality import measure

    export_sdxl(work)
    export_sd3(work)
    export_scorer(work)
    figures = measure(read_scenes(work / "held_out"), seed=SEED, sheets=work / "sheets")
    write_json(WEIGHTS / "quality.json", figures)
    print(figures)


STAGES: dict[str, Callable[[Path], None]] = {
    "data": stage_data,
    "autoencoder": stage_autoencoder,
    "scorer": stage_scorer,
    "text": lambda work: pretrain_text(work, steps=STEPS["text"], seed=SEED),
    "denoiser": lambda work: pretrain_unet(work, steps=STEPS["denoiser"], seed=SEED),
    "transformer": lambda work: pretrain_transformer(work, steps=STEPS["transformer"], seed=SEED),
    "export": stage_export,
}

if __name__ == "__main__":
    import argparse
    import os

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["all", *STAGES])
    parser.add_argument("--work", type=Path, default=Path("build/miniature"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # squared gradients decay into denormals, which cost a hundredfold on CPUs
    for name in STAGES if arguments.stage == "all" else [arguments.stage]:
        STAGES[name](arguments.work)
