"""What training and synthesis ask of a model family, and the table of families.

Shape legend: B rows; C, H, W channels, height and width of latents or pixels.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from aelif.artifacts import read_json
from aelif.config import LossWeighting, TimeSampling, TrainConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.nn import Parameter

    from aelif.models.condition import TextCondition

Part = Literal["text", "autoencoder", "denoiser"]


class Solver(Protocol):
    """A deterministic sampler, as diffusers' schedulers are; starts from noise of unit variance."""

    timesteps: Tensor

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: bool) -> tuple[Tensor, ...]:
        """Return the sample of the next step, first in a tuple."""


class ModelAdapter(Protocol):
    """One opened base model. Parts are loaded at their first use and freed by `release`.

    Latents are in the denoiser's units everywhere: scaled, and shifted where the family does so.
    Times are in the denoiser's units too: timesteps of diffusion, 1000 σ of flow matching.
    """

    family: str
    objective: Literal["diffusion", "flow"]
    """What the denoiser learns: noise or velocity of diffusion, or the straight flow from image to noise."""
    guidance: Literal["classifier_free", "embedded"]
    """Whether guidance takes an unconditional prediction, or is a number that the denoiser reads (FLUX.1-dev)."""
    masks_attention: bool
    """Whether the denoiser heeds `TextCondition.attention_mask`."""
    image_size: int
    """Pixels of the images that the base model was made for."""
    size_multiple: int
    """Width and height of images are multiples of this."""

    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Return the condition of each prompt, one row each; gradients flow where text encoders are trained."""

    def null_condition(self, rows: int) -> TextCondition:
        """Return the unconditional rows of classifier-free guidance; never augmented."""

    def kept_text(self, prompt: str) -> str:
        """Return the part of the prompt that fits the text encoders, normalised as they read it."""

    def token_ids(self, prompt: str) -> list[int]:
        """Return the prompt as its first CLIP tokenizer reads it: without begin, end and padding, cut where it ends."""

    def encode_images(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the latents (B, C, h, w) of pixels in [-1, 1]."""

    def decode_latents(self, latents_BCHW: Tensor) -> Tensor:
        """Return pixels in about [-1, 1]."""

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """Return (C, h, w) of the latents of a square image."""

    def draw_times(self, count: int, generator: torch.Generator, *, sampling: TimeSampling) -> Tensor:
        """Return `count` training times, shape (count,), on the model's device.

        Raises:
            ValueError: if the family has no such distribution.
        """

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return the latents diffused to each row's time."""

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return what the denoiser should predict."""

    def loss_weight(self, times_B: Tensor, *, weighting: LossWeighting, snr_gamma: float) -> Tensor:
        """Return each row's weight in the loss, shape (B,).

        Raises:
            ValueError: if the family has no such weighting.
        """

    def predict(
        self, noisy_BCHW: Tensor, times_B: Tensor, condition: TextCondition, *, guidance_scale: float = 1.0
    ) -> Tensor:
        """Return the denoiser's prediction in float32, shape (B, C, h, w).

        Sizes that the denoiser is told are those of the latents. `guidance_scale` is heeded where
        guidance is embedded alone.
        """

    def solver(self, steps: int, *, image_size: int) -> Solver:
        """Return a fresh deterministic sampler with that many steps, from the base model's own schedule."""

    def prepare_training(self, config: TrainConfig, *, seed: int) -> dict[str, Parameter]:
        """Freeze what is not trained and return what is, by name (``unet.…``, ``text_encoder.…``), in float32.

        LoRA matrices are drawn from `seed`.
        """

    def trained_modules(self) -> dict[str, nn.Module]:
        """Return the modules that hold trained parameters, by their folder's name (``unet``, ``text_encoder``)."""

    def save_trained(self, folder: Path) -> Path:
        """Write the trained weights as stock diffusers reads them and return the safetensors file."""

    def load_trained(self, folder: Path) -> None:
        """Put weights that `save_trained` wrote into the model; LoRA is added onto its weights."""

    def prepare_sampling(self) -> None:
        """Lay the denoiser's weights out for inference; call it after `load_trained`."""

    def release(self, *parts: Part) -> None:
        """Free parts, except what is being trained."""


FAMILIES = {
    "StableDiffusionPipeline": ("aelif.models.sd", "StableDiffusion"),
    "StableDiffusionXLPipeline": ("aelif.models.sdxl", "StableDiffusionXL"),
    "StableDiffusion3Pipeline": ("aelif.models.sd3", "StableDiffusion3"),
    "FluxPipeline": ("aelif.models.flux", "Flux"),
}
"""Pipeline class in `model_index.json` → module and class of its adapter."""


def import_family(base: Path) -> Any:
    """Import and return the adapter class for a diffusers folder, with the libraries that it needs.

    A step calls this before its work begins: these imports take seconds, and are no work of its own.

    Raises:
        ValueError: if the folder is no diffusers model, or of a family without an adapter.
    """
    path = base / "model_index.json"
    if not path.exists():
        raise ValueError(f"{base}: no model_index.json; give a diffusers folder")
    name: Any = read_json(path).get("_class_name")
    if name not in FAMILIES:
        raise ValueError(f"{path}: _class_name = {name!r} is not supported; known: {', '.join(FAMILIES)}")
    module, adapter = FAMILIES[name]
    return getattr(importlib.import_module(module), adapter)


def open_model(
    base: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    max_sequence_length: int = 256,
) -> ModelAdapter:
    """Return the adapter for a diffusers folder; loads no weights yet.

    Args:
        base: folder with `model_index.json`.
        device: where the parts go.
        dtype: the denoiser's; float32 where none is given. Other parts are float32 always:
            half-precision autoencoders give black images.
        max_sequence_length: tokens that T5 reads (SD3, FLUX); the others have no such choice.

    Raises:
        ValueError: if the folder is no diffusers model, or of a family without an adapter.
    """
    opened: ModelAdapter = import_family(base)(
        base, device=device, dtype=dtype, max_sequence_length=max_sequence_length
    )
    return opened
