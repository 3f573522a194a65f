"""What training and synthesis ask of a model family, and the text condition they exchange.

Shape legend: B rows, L token positions, D width of a prompt embedding, P width of the pooled
embedding; C, H, W channels, height and width of latents or pixels.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from aelif.artifacts import read_json
from aelif.config import Eligible, nearest

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Parameter

Part = Literal["text", "autoencoder", "denoiser"]
Method = Literal["lora", "full"]


class TokenKind(IntEnum):
    """What stands at a token position."""

    PAD = 0
    CONTENT = 1
    BOS = 2
    EOS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCondition:
    """What the text encoders make of B prompts: everything that the denoiser reads of them."""

    prompt_embeds: Tensor
    """(B, L, D)."""
    pooled: Tensor | None
    """(B, P); None in families without a pooled embedding (SD 1.5)."""
    token_kinds: Tensor
    """(B, L) int8, values of `TokenKind`."""

    def eligible_positions(self, eligible: Eligible) -> Tensor:
        """Return which positions augmentation may hit, as booleans of shape (B, L).

        ``all``: every position, BOS and padding included (the paper's literal reading);
        ``content``: words alone; ``content+eos``: words and the end token.
        """
        kinds_BL = self.token_kinds
        if eligible == "all":
            return kinds_BL >= 0
        content_BL = kinds_BL == TokenKind.CONTENT
        return content_BL | (kinds_BL == TokenKind.EOS) if eligible == "content+eos" else content_BL

    def select(self, rows: Tensor) -> TextCondition:
        """Return the given rows, in that order; `rows` is an integer tensor and may repeat."""
        pooled_BP = self.pooled
        return TextCondition(
            prompt_embeds=self.prompt_embeds.index_select(0, rows),
            pooled=None if pooled_BP is None else pooled_BP.index_select(0, rows),
            token_kinds=self.token_kinds.index_select(0, rows),
        )

    def with_embeddings(self, prompt_embeds_BLD: Tensor, pooled_BP: Tensor | None) -> TextCondition:
        """Return the same tokens with other embeddings."""
        return replace(self, prompt_embeds=prompt_embeds_BLD, pooled=pooled_BP)


def concatenate(conditions: Sequence[TextCondition]) -> TextCondition:
    """Return one condition with the rows of all, in order; all are of one family."""
    import torch

    pooled = [c.pooled for c in conditions if c.pooled is not None]
    return TextCondition(
        prompt_embeds=torch.cat([c.prompt_embeds for c in conditions]),
        pooled=torch.cat(pooled) if pooled else None,
        token_kinds=torch.cat([c.token_kinds for c in conditions]),
    )


class Solver(Protocol):
    """A deterministic sampler, as diffusers' schedulers are."""

    timesteps: Tensor
    init_noise_sigma: float

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Return the denoiser's input for this step."""

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: bool) -> tuple[Tensor, ...]:
        """Return the sample of the next step, first in a tuple."""


class ModelAdapter(Protocol):
    """One opened base model. Parts are loaded at their first use and freed by `release`.

    Latents are in the denoiser's units everywhere: scaled, and shifted where the family does so.
    """

    family: str
    image_size: int
    """Pixels of the images that the base model was made for."""

    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Return the condition of each prompt, one row each."""

    def null_condition(self, rows: int) -> TextCondition:
        """Return the unconditional rows of classifier-free guidance; never augmented."""

    def kept_text(self, prompt: str) -> str:
        """Return the part of the prompt that fits the text encoders, normalised as they read it."""

    def encode_images(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the latents (B, C, h, w) of pixels in [-1, 1]."""

    def decode_latents(self, latents_BCHW: Tensor) -> Tensor:
        """Return pixels in about [-1, 1]."""

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """Return (C, h, w) of the latents of a square image."""

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` training times, shape (count,)."""

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return the latents diffused to each row's time."""

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return what the denoiser should predict."""

    def loss_weight(self, times_B: Tensor, *, snr_gamma: float | None) -> Tensor:
        """Return each row's weight in the loss, shape (B,)."""

    def predict(self, noisy_BCHW: Tensor, times_B: Tensor, condition: TextCondition, *, image_size: int) -> Tensor:
        """Return the denoiser's prediction in float32, shape (B, C, h, w)."""

    def solver(self, steps: int) -> Solver:
        """Return a fresh deterministic sampler with that many steps, from the base model's own schedule."""

    def prepare_training(self, *, method: Method, rank: int, seed: int) -> dict[str, Parameter]:
        """Freeze what is not trained and return what is, by name; LoRA matrices are drawn from `seed`."""

    def save_trained(self, folder: Path, *, method: Method) -> Path:
        """Write the trained weights as stock diffusers reads them and return the safetensors file."""

    def load_trained(self, folder: Path) -> None:
        """Put weights that `save_trained` wrote into the denoiser; LoRA is added onto its weights."""

    def prepare_sampling(self) -> None:
        """Lay the denoiser's weights out for inference; call it after `load_trained`."""

    def release(self, *parts: Part) -> None:
        """Free parts."""


FAMILIES = {"StableDiffusionXLPipeline": ("aelif.models.sdxl", "StableDiffusionXL")}
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
        raise ValueError(f"{path}: _class_name = {name!r} is not supported; {nearest(str(name), FAMILIES)}")
    module, adapter = FAMILIES[name]
    return getattr(importlib.import_module(module), adapter)


def open_model(base: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> ModelAdapter:
    """Return the adapter for a diffusers folder; loads no weights yet.

    Args:
        base: folder with `model_index.json`.
        device: where the parts go.
        dtype: the denoiser's; float32 where none is given. Other parts are float32 always:
            half-precision autoencoders give black images.

    Raises:
        ValueError: if the folder is no diffusers model, or of a family without an adapter.
    """
    opened: ModelAdapter = import_family(base)(base, device=device, dtype=dtype)
    return opened
