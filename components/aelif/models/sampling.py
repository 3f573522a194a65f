"""Images of prompts, by the base model's own deterministic solver and guidance.

Shape legend as in `aelif.models.adapter`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aelif.config import SynthesisConfig
from aelif.models.adapter import ModelAdapter
from aelif.models.condition import TextCondition, concatenate


@torch.inference_mode()
def sample(
    adapter: ModelAdapter,
    condition: TextCondition,
    generators: Sequence[torch.Generator],
    *,
    config: SynthesisConfig,
    image_size: int,
    negative: TextCondition | None = None,
) -> Tensor:
    """Return one image per generator: (B, H, W, 3) uint8 on the CPU.

    Args:
        adapter: the model.
        condition: the prompts, one row per image; or one row, for all of them.
        generators: each draws the initial latents of its image.
        config: steps and guidance.
        image_size: width and height in pixels.
        negative: one row in place of the unconditional prompt; None: the model's own.
    """
    shape, device = adapter.latent_shape(image_size), condition.prompt_embeds.device
    noise_BCHW = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)
    latents_BCHW = denoise(adapter, condition, noise_BCHW, config=config, image_size=image_size, negative=negative)
    pixels_B3HW = adapter.decode_latents(latents_BCHW)
    return pixels_B3HW.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).to("cpu", torch.uint8).contiguous()


@torch.inference_mode()
def denoise(
    adapter: ModelAdapter,
    condition: TextCondition,
    noise_BCHW: Tensor,
    *,
    config: SynthesisConfig,
    image_size: int,
    negative: TextCondition | None = None,
) -> Tensor:
    """Return latents (B, C, h, w) of B prompts, or of one for all, by classifier-free guidance (arXiv 2207.12598).

    Every step predicts û = u + guidance (c - u) from the unconditional u and the conditional c,
    both in one batch; with guidance 1 the unconditional half is left out, and where the denoiser
    reads the guidance as a number (FLUX.1-dev) there is none.
    """
    rows, embedded = len(noise_BCHW), adapter.guidance == "embedded"
    guided = config.guidance_scale != 1 and not embedded
    if len(condition.prompt_embeds) == 1:
        condition = condition.repeat(rows)
    assert len(condition.prompt_embeds) == rows
    if guided:
        condition = concatenate([negative.repeat(rows) if negative else adapter.null_condition(rows), condition])
    told = config.guidance_scale if embedded else 1.0
    solver, latents_BCHW = adapter.solver(config.steps, image_size=image_size), noise_BCHW
    for time in solver.timesteps:
        stacked = torch.cat([latents_BCHW, latents_BCHW]) if guided else latents_BCHW
        prediction = adapter.predict(stacked, time.expand(len(stacked)), condition, guidance_scale=told)
        if guided:
            unprompted, prompted = prediction.chunk(2)
            prediction = unprompted + config.guidance_scale * (prompted - unprompted)
        latents_BCHW = solver.step(prediction, time, latents_BCHW, return_dict=False)[0]
    return latents_BCHW
