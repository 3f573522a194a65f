"""Noise schedules of latent diffusion: diffusing, targets and loss weights, by arithmetic alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aelif.config import nearest

if TYPE_CHECKING:
    from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSchedule:
    """Discrete variance-preserving diffusion: z_t = sqrt(a_t) z + sqrt(1 - a_t) noise."""

    alphas_cumprod: Tensor
    """a_t, (T,) float32, one per training timestep."""
    prediction: str
    """``epsilon`` or ``v_prediction``."""

    @classmethod
    def from_config(cls, config: dict[str, Any], *, device: Any = "cpu") -> NoiseSchedule:
        """Read a diffusers scheduler configuration, whichever scheduler it names.

        Raises:
            ValueError: if the model predicts neither noise nor velocity.
        """
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        prediction = config.get("prediction_type", "epsilon")
        if prediction not in PREDICTIONS:
            raise ValueError(f"scheduler prediction_type = {prediction!r}: {nearest(str(prediction), PREDICTIONS)}")
        keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
                "rescale_betas_zero_snr")  # fmt: skip
        scheduler = DDPMScheduler(**{key: config[key] for key in keys if key in config})
        return cls(alphas_cumprod=scheduler.alphas_cumprod.float().to(device), prediction=prediction)

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return the latents diffused to each row's timestep."""
        alpha_B111 = self.alphas_cumprod[times_B].view(-1, 1, 1, 1)
        return alpha_B111.sqrt() * latents_BCHW + (1 - alpha_B111).sqrt() * noise_BCHW

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return the noise, or the velocity sqrt(a) noise - sqrt(1 - a) z (arXiv 2202.00512)."""
        if self.prediction == "epsilon":
            return noise_BCHW
        alpha_B111 = self.alphas_cumprod[times_B].view(-1, 1, 1, 1)
        return alpha_B111.sqrt() * noise_BCHW - (1 - alpha_B111).sqrt() * latents_BCHW

    def loss_weight(self, times_B: Tensor, *, snr_gamma: float | None) -> Tensor:
        """Return min-SNR-γ weights (arXiv 2303.09556), shape (B,); ones where `snr_gamma` is None.

        min(snr, γ) / snr for noise, min(snr, γ) / (snr + 1) for velocity. At zero terminal SNR
        the first is its limit, 1, not 0/0.
        """
        import torch

        alpha_B = self.alphas_cumprod[times_B]
        if snr_gamma is None:
            return torch.ones_like(alpha_B)
        snr_B = alpha_B / (1 - alpha_B)
        if self.prediction == "v_prediction":
            return snr_B.clamp(max=snr_gamma) / (snr_B + 1)
        return torch.where(snr_B > snr_gamma, snr_gamma / snr_B, torch.ones_like(snr_B))
