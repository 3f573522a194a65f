"""Pretraining of the scorers: CLIP's contrastive loss on images and captions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from aelif.models.miniature.data import read_scenes, to_pixels
from aelif.models.miniature.loop import pretrain
from aelif.models.miniature.pretrain_autoencoder import decode_latents
from aelif.models.miniature.tokenizer import write_tokenizer
from aelif.randomness import numpy_generator

NUM_DECODED = 6000
"""Images that a scorer sees through the autoencoder."""


def pretrain_scorer(work: Path, *, name: str, shape: dict[str, Any], steps: int, seed: int) -> None:
    """Train an open_clip model on images and their captions.

    Half of the images are seen through the autoencoder, as generated ones are: a judge of crisp
    drawings alone would measure softness, not what a picture shows.

    Args:
        work: the pretraining's folder; `name` below it receives the weights.
        name: of the scorer.
        shape: arguments of `open_clip.CLIP`.
        steps: optimizer steps.
        seed: of weights and batches.
    """
    import open_clip

    tokenizer = write_tokenizer(work / name / "tokenizer", max_tokens=shape["text_cfg"]["context_length"])
    data = read_scenes(work / "train")
    torch.manual_seed(seed)
    model: Any = open_clip.CLIP(**{**shape, "text_cfg": {**shape["text_cfg"], "vocab_size": len(tokenizer)}})
    tokens = torch.stack([tokenize(tokenizer, [c[k] for c in data.captions]) for k in range(3)])
    decoded = decode_latents(work, NUM_DECODED)

    def loss_of_step(step: int) -> Tensor:
        generator = numpy_generator(seed, "scorer/batch", step)
        crisp, soft = generator.integers(len(data.images), size=64), generator.integers(len(decoded), size=64)
        picks = np.concatenate([crisp, soft])
        pixels = to_pixels(np.concatenate([data.images[crisp], decoded[soft]]))
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(tokens[generator.integers(3), picks], normalize=True)
        logits = model.logit_scale.exp().clamp(max=100) * image @ text.T
        target = torch.arange(len(picks))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    pretrain(model, loss_of_step, folder=work / name, steps=steps, learning_rate=1e-3, weight_decay=0.05)
    calibrate(model.visual, np.concatenate([data.images[:1280], decoded[:1280]]))
    save_file(model.eval().state_dict(), work / name / "model.safetensors")


@torch.no_grad()
def calibrate(visual: nn.Module, images: np.ndarray) -> None:
    """Recompute batch-norm statistics for the averaged weights, from scratch; batches are taken evenly."""
    norms = [module for module in visual.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = None  # cumulative mean
        module.reset_running_stats()
    visual.train()
    for batch in range(len(images) // 128 if norms else 0):
        visual(to_pixels(images[batch :: len(images) // 128]))


def tokenize(tokenizer: Callable[..., dict[str, Tensor]], prompts: list[str]) -> Tensor:
    """Return (B, L) token ids, padded with zeros after the end as open_clip does."""
    batch = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
    return batch["input_ids"] * batch["attention_mask"]
