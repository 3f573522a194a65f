"""Diffusion on discrete timesteps with a U-Net and CLIP: what SD 1.5, 2.x and SDXL share.

Shape legend as in `aelif.models.adapter`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from aelif.config import LoraTargets, LossWeighting, TimeSampling
from aelif.models.adapter import Solver
from aelif.models.attention import PerTensor, keep_prompts
from aelif.models.condition import TextCondition
from aelif.models.latent_diffusion import LatentDiffusion
from aelif.models.noise import NoiseSchedule


class UNetDiffusion(LatentDiffusion):
    """Noise schedule, prompts and U-Net layers."""

    objective = "diffusion"
    denoiser = "unet"
    masks_attention = True
    lora_targets: ClassVar[dict[LoraTargets, tuple[str, ...] | str]] = {
        "attention": ("to_q", "to_k", "to_v", "to_out.0"),
        "attention+mlp": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"),
        "all": "all-linear",
    }

    def __init__(self, base: Path, **options: Any) -> None:
        super().__init__(base, **options)
        self._schedule = NoiseSchedule.from_config(self._scheduler_config, device=self._device)
        self._lowered = PerTensor(lambda prompt_embeds_BLD: prompt_embeds_BLD.to(self._dtype))

    # ── Text ───────────────────────────────────────────────────────────────────────────────────

    def kept_text(self, prompt: str) -> str:
        """Return the part of the prompt that fits CLIP's 77 tokens, lower-cased as it reads it."""
        return self._clip_text(prompt)

    # ── Diffusion ──────────────────────────────────────────────────────────────────────────────

    def draw_times(self, count: int, generator: torch.Generator, *, sampling: TimeSampling) -> Tensor:
        """Return uniform timesteps.

        Raises:
            ValueError: for the distributions of flow matching.
        """
        if sampling not in ("family", "uniform"):
            raise ValueError(f"time_sampling = {sampling!r}: it belongs to flow matching (SD3, FLUX); "
                             f"give 'uniform' for {self.family}")  # fmt: skip
        high = len(self._schedule.alphas_cumprod)
        return torch.randint(high, (count,), generator=generator).to(self._device)

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return the latents diffused to each row's timestep."""
        return self._schedule.add_noise(latents_BCHW, noise_BCHW, times_B)

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return noise or velocity, as the scheduler's configuration says."""
        return self._schedule.target(latents_BCHW, noise_BCHW, times_B)

    def loss_weight(self, times_B: Tensor, *, weighting: LossWeighting, snr_gamma: float) -> Tensor:
        """Return min-SNR weights, or ones for ``uniform``.

        Raises:
            ValueError: for the weightings of flow matching.
        """
        if weighting in ("sigma_sqrt", "cosmap"):
            raise ValueError(f"loss_weighting = {weighting!r}: it belongs to flow matching (SD3, FLUX); "
                             f"give 'min_snr' or 'uniform' for {self.family}")  # fmt: skip
        return self._schedule.loss_weight(times_B, snr_gamma=None if weighting == "uniform" else snr_gamma)

    def solver(self, steps: int, *, image_size: int) -> Solver:
        """Return DPM-Solver++ (arXiv 2211.01095), second order, on the base model's own schedule."""
        # Here, since it imports scipy.stats, which training can do without.
        from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

        solver = DPMSolverMultistepScheduler.from_config(self._scheduler_config)
        solver.set_timesteps(steps, device=self._device)
        return solver

    def prepare_sampling(self) -> None:
        """Lay the U-Net out for inference; prompts are read once, not at every step."""
        super().prepare_sampling()
        keep_prompts(self._part("unet"))

    def _run_unet(self, noisy_BCHW: Tensor, times_B: Tensor, condition: TextCondition, **added: Any) -> Tensor:
        """Return the U-Net's prediction in float32."""
        embeds_BLD = condition.prompt_embeds
        if embeds_BLD.dtype != self._dtype:
            embeds_BLD = self._lowered(embeds_BLD)  # one tensor for all steps, by which layers know the prompts
        prediction_BCHW = self._part("unet")(
            noisy_BCHW.to(self._dtype), times_B, embeds_BLD,
            encoder_attention_mask=condition.attention_mask, return_dict=False, **added,
        )[0]  # fmt: skip
        return prediction_BCHW.float()
