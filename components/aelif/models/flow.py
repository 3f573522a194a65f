"""Flow matching with a transformer: what SD3, SD3.5 and FLUX.1 share.

The denoiser learns the straight flow from image to noise, z_t = (1 - σ) z + σ noise, and predicts
its velocity, noise - z (arXiv 2209.03003, 2403.03206). Shape legend as in `aelif.models.adapter`;
L is the number of token positions, D the width of a prompt embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from aelif.config import LossWeighting, TimeSampling
from aelif.models.adapter import Solver
from aelif.models.latent_diffusion import LatentDiffusion
from aelif.models.text import token_kinds, tokenize

MODE_SCALE = 1.29
"""Scale s of mode sampling that served best in arXiv 2403.03206."""


class FlowMatching(LatentDiffusion):
    """Times, noise and targets, the sampler, and how T5 reads prompts."""

    objective = "flow"
    denoiser = "transformer"
    patch_size = 2

    def __init__(self, base: Path, **options: Any) -> None:
        super().__init__(base, **options)
        self._num_times = int(self._scheduler_config.get("num_train_timesteps", 1000))

    # ── Text ───────────────────────────────────────────────────────────────────────────────────

    def _read_t5(self, suffix: str, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return T5's embeddings (B, L, D) and `TokenKind`s (B, L); padding is attended to, as in stock pipelines."""
        ids_BL, mask_BL = tokenize(self._part(f"tokenizer{suffix}"), prompts, length=self._max_sequence_length)
        embeds_BLD = self._part(f"text_encoder{suffix}")(ids_BL.to(self._device))[0]
        return embeds_BLD, token_kinds(mask_BL, begins=False).to(self._device)

    def _t5_text(self, suffix: str, prompt: str) -> str:
        """Return the part of the prompt that T5 reads; letters that it does not know count as read."""
        tokens = self._part(f"tokenizer{suffix}")(
            prompt, max_length=self._max_sequence_length, truncation=True, return_offsets_mapping=True
        )
        return prompt[: max(end for _, end in tokens["offset_mapping"])].strip()

    # ── Flow ───────────────────────────────────────────────────────────────────────────────────

    def draw_times(self, count: int, generator: torch.Generator, *, sampling: TimeSampling) -> Tensor:
        """Return 1000 σ, drawn logit-normally, uniformly or by mode (arXiv 2403.03206, section 3.1), then shifted.

        All three are symmetric about σ = 1/2 before the shift. None is smaller than the noise
        schedule's smallest, so that weights by 1/σ² stay finite.
        """
        if sampling in ("family", "logit_normal"):
            sigmas_B = torch.randn(count, generator=generator).sigmoid()
        else:
            sigmas_B = torch.rand(count, generator=generator)
        if sampling == "mode":
            sigmas_B = 1 - sigmas_B - MODE_SCALE * ((math.pi / 2 * sigmas_B).cos() ** 2 - 1 + sigmas_B)
        return self._shift(sigmas_B.clamp(1 / self._num_times, 1)).to(self._device) * self._num_times

    def _shift(self, sigmas_B: Tensor) -> Tensor:
        """Return the noise levels moved towards noise by the model's constant: s σ / (1 + (s - 1) σ).

        Models whose shift depends on the image's size in sampling (FLUX.1-dev) are trained without.
        """
        if self._scheduler_config.get("use_dynamic_shifting", False):
            return sigmas_B
        shift = float(self._scheduler_config.get("shift", 1.0))
        return shift * sigmas_B / (1 + (shift - 1) * sigmas_B)

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return (1 - σ) z + σ noise."""
        sigma_B111 = (times_B / self._num_times).view(-1, 1, 1, 1)
        return (1 - sigma_B111) * latents_BCHW + sigma_B111 * noise_BCHW

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return noise - z, the same at every time."""
        return noise_BCHW - latents_BCHW

    def loss_weight(self, times_B: Tensor, *, weighting: LossWeighting, snr_gamma: float) -> Tensor:
        """Return ones, 1/σ² (``sigma_sqrt``) or 2 / (π (1 - 2σ + 2σ²)) (``cosmap``, arXiv 2403.03206).

        Raises:
            ValueError: for min-SNR, which weights noise and velocity of diffusion.
        """
        if weighting == "min_snr":
            raise ValueError(f"loss_weighting = 'min_snr': it belongs to diffusion (SD, SDXL); give 'uniform', "
                             f"'sigma_sqrt' or 'cosmap' for {self.family}")  # fmt: skip
        sigma_B = times_B.float() / self._num_times
        if weighting == "sigma_sqrt":
            return sigma_B**-2
        if weighting == "cosmap":
            return 2 / (math.pi * (1 - 2 * sigma_B + 2 * sigma_B**2))
        return torch.ones_like(sigma_B)

    def solver(self, steps: int, *, image_size: int) -> Solver:
        """Return Euler's method on the model's own schedule, as the stock pipeline sets it up."""
        solver = FlowMatchEulerDiscreteScheduler.from_config(self._scheduler_config, stochastic_sampling=False)
        tokens = (image_size // self.size_multiple) ** 2
        sigmas = self._sampling_sigmas(steps)
        solver.set_timesteps(steps, device=self._device, sigmas=sigmas, mu=dynamic_shift(solver.config, tokens))
        solver.set_begin_index(0)  # else the first step searches its own index and makes an accelerator wait
        return solver

    def _sampling_sigmas(self, steps: int) -> list[float] | None:
        """Return the noise levels before any shift; None: the scheduler's own."""
        return None


def dynamic_shift(config: Any, tokens: int) -> float:
    """Return μ of the shift that grows with the image (arXiv 2403.03206, section 5.3.2), linear in its tokens.

    Heeded by schedulers with `use_dynamic_shifting` alone.
    """
    slope = (config["max_shift"] - config["base_shift"]) / (config["max_image_seq_len"] - config["base_image_seq_len"])
    return float(config["base_shift"] + slope * (tokens - config["base_image_seq_len"]))
