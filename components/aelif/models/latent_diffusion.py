"""What all families share: parts of a diffusers folder, the autoencoder, and trained weights.

Shape legend as in `aelif.models.adapter`.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from aelif.artifacts import read_json
from aelif.config import LoraTargets, TrainConfig
from aelif.models.adapter import Part
from aelif.models.condition import TextCondition
from aelif.models.loading import load_part, load_tokenizer
from aelif.models.lora import LORA_FILE, TEXT_TARGETS, add_lora, lora_components, merge_lora, save_lora, trained_files
from aelif.models.text import clip_text, content_ids, token_kinds, tokenize

if TYPE_CHECKING:
    from torch.nn import Parameter


class LatentDiffusion(ABC):
    """Base of the adapters (see `aelif.models.adapter.ModelAdapter`); a family adds text and diffusion."""

    family: ClassVar[str]
    denoiser: ClassVar[str]
    """Folder of the denoiser: ``unet`` or ``transformer``."""
    text_folders: ClassVar[tuple[str, ...]]
    """Folders of tokenizers and text encoders."""
    trainable_text: ClassVar[tuple[str, ...]]
    """Folders of the text encoders that LoRA may train: CLIP's."""
    lora_targets: ClassVar[dict[LoraTargets, tuple[str, ...] | str]]
    """Preset → names of the denoiser's layers that get adapters, as peft matches them."""
    guidance = "classifier_free"
    masks_attention = False
    patch_size = 1
    """Latent positions along one side of a denoiser's token."""

    def __init__(
        self,
        base: Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        max_sequence_length: int = 256,
    ) -> None:
        self._base, self._device, self._dtype = base, torch.device(device), dtype or torch.float32
        self._max_sequence_length = max_sequence_length
        self._index = read_json(base / "model_index.json")
        self._scheduler_config = read_json(base / "scheduler" / "scheduler_config.json")
        self._autoencoder_config = read_json(base / "vae" / "config.json")
        self._denoiser_config = read_json(base / self.denoiser / "config.json")
        self._factor = 2 ** (len(self._autoencoder_config["block_out_channels"]) - 1)
        self._loaded: dict[str, Any] = {}
        self._trained: tuple[str, ...] = ()
        self._method: str = ""
        self._trained_folder: Path | None = None
        self._null: TextCondition | None = None
        self.image_size = int(self._denoiser_config.get("sample_size", 128)) * self._factor  # FLUX names none
        self.size_multiple = self._factor * self.patch_size

    # ── Parts ──────────────────────────────────────────────────────────────────────────────────

    def _has(self, name: str) -> bool:
        """Return whether the model has this part; T5 may be left out."""
        return self._index.get(name, [None, None])[1] is not None

    def _part(self, name: str) -> Any:
        """Return a part by its folder's name, loading it the first time: frozen, in evaluation mode."""
        if name not in self._loaded:
            class_name = str(self._index[name][1])
            if name.startswith("tokenizer"):
                self._loaded[name] = load_tokenizer(class_name, self._base / name)
            else:
                dtype = self._dtype if name == self.denoiser else torch.float32
                module = load_part(class_name, self._stored(name), dtype=dtype)
                if self._trained_folder is not None and (self._trained_folder / LORA_FILE).exists():
                    merge_lora(module, self._trained_folder / LORA_FILE, component=name)
                self._loaded[name] = module.to(self._device).eval().requires_grad_(False)
        return self._loaded[name]

    def _stored(self, name: str) -> Path:
        """Return the folder of a module's weights: the trained one where `load_trained` found one."""
        trained = self._trained_folder / name if self._trained_folder else None
        return trained if trained and (trained / "config.json").exists() else self._base / name

    def release(self, *parts: Part) -> None:
        """Free parts, except what is being trained; a later use loads them again."""
        folders = {"text": self.text_folders, "autoencoder": ("vae",), "denoiser": (self.denoiser,)}
        for part in parts:
            for name in folders[part]:
                if name not in self._trained:
                    self._loaded.pop(name, None)
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    # ── Text ───────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Return the condition of each prompt; every family composes its own."""

    def null_condition(self, rows: int) -> TextCondition:
        """Return the unconditional row, `rows` times.

        It is kept, so that released text encoders need not come back for it; where they are
        trained it changes, and is encoded anew with gradients.
        """
        if any(name in self._trained for name in self.trainable_text):
            row = self._encode_null()
        else:
            if self._null is None:
                with torch.no_grad():
                    self._null = self._encode_null()
            row = self._null
        return row.select(torch.zeros(rows, dtype=torch.long, device=self._device))

    def _encode_null(self) -> TextCondition:
        """Return one unconditional row: the empty prompt, as most stock pipelines have it."""
        return self.encode_text([""])

    @property
    def _clip_length(self) -> int:
        """Tokens of a prompt that CLIP reads; all CLIP tokenizers of a model read as far as the first one."""
        return int(self._part("tokenizer").model_max_length)

    def _clip_tokens(self, suffix: str, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids and attention mask of one CLIP tokenizer, both (B, L)."""
        return tokenize(self._part(f"tokenizer{suffix}"), prompts, length=self._clip_length)

    def token_ids(self, prompt: str) -> list[int]:
        """Return the ids of the prompt's words, by the first CLIP tokenizer."""
        return content_ids(self._part("tokenizer"), prompt, length=self._clip_length)

    def _clip_text(self, prompt: str) -> str:
        """Return the part of the prompt that CLIP reads."""
        return clip_text(self._part("tokenizer"), prompt, length=self._clip_length)

    def _read_two_clips(self, prompts: Sequence[str]) -> tuple[Tensor, list[Any], Tensor]:
        """Return the last but one hidden states side by side (B, L, D), both outputs, and `TokenKind`s (B, L)."""
        outputs, masks = [], []
        for suffix in ("", "_2"):
            ids_BL, mask_BL = self._clip_tokens(suffix, prompts)
            outputs.append(self._part(f"text_encoder{suffix}")(ids_BL.to(self._device), output_hidden_states=True))
            masks.append(mask_BL)
        hidden_BLD = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return hidden_BLD, outputs, token_kinds(masks[0], begins=True).to(self._device)

    # ── Images ─────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def encode_images(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the scaled latents."""
        posterior = self._part("vae").encode(pixels_B3HW.to(self._device)).latent_dist
        shift, scale = self._latent_units()
        return (posterior.mean - shift) * scale, posterior.std * scale

    @torch.no_grad()
    def decode_latents(self, latents_BCHW: Tensor) -> Tensor:
        """Return pixels of scaled latents."""
        shift, scale = self._latent_units()
        return self._part("vae").decode(latents_BCHW.float() / scale + shift, return_dict=False)[0]

    def _latent_units(self) -> tuple[Tensor, Tensor]:
        """Return shift and scale, broadcastable over latents; some autoencoders have them per channel."""
        config = self._autoencoder_config
        scale = torch.tensor(float(config.get("scaling_factor", 0.18215)), device=self._device)
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            return torch.tensor(float(config.get("shift_factor") or 0.0), device=self._device), scale
        shift_1C11 = torch.tensor(mean, device=self._device).view(1, -1, 1, 1)
        return shift_1C11, scale / torch.tensor(std, device=self._device).view(1, -1, 1, 1)

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """Return (C, h, w)."""
        side = image_size // self._factor
        return int(self._autoencoder_config["latent_channels"]), side, side

    # ── Weights ────────────────────────────────────────────────────────────────────────────────

    def prepare_training(self, config: TrainConfig, *, seed: int) -> dict[str, Parameter]:
        """Return the trainable parameters by name: LoRA matrices, or every weight of the denoiser.

        Modules with trained parameters are in training mode afterwards: LoRA's dropout acts.
        """
        denoiser = self._part(self.denoiser)
        trained = [self.denoiser]
        if config.method == "lora":
            add_lora(denoiser, config=config.lora, targets=self.lora_targets[config.lora.targets],
                     seed=seed, component=self.denoiser)  # fmt: skip
        else:
            denoiser.float().requires_grad_(True)
            self._dtype = torch.float32  # of the denoiser's inputs; autocast lowers it where it pays
        if config.lora.text_encoders:
            for name in self.trainable_text:
                add_lora(self._part(name), config=config.lora, targets=TEXT_TARGETS, seed=seed, component=name)
                trained.append(name)
        if config.gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
        self._trained, self._method = tuple(trained), config.method
        for module in self.trained_modules().values():
            module.train()
        return {
            f"{part}.{name}": parameter
            for part, module in self.trained_modules().items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    def trained_modules(self) -> dict[str, nn.Module]:
        """Return the modules that hold trained parameters, by their folder's name."""
        return {name: self._part(name) for name in self._trained}

    def save_trained(self, folder: Path) -> Path:
        """Write `pytorch_lora_weights.safetensors`, the denoiser in diffusers' layout, or both (LoRA of text encoders).

        Returns the denoiser's file.
        """
        modules = self.trained_modules()
        if self._method == "lora":
            return save_lora(folder, modules)
        denoiser: Any = modules.pop(self.denoiser)
        denoiser.register_to_config(_name_or_path="")  # the base's path on this machine
        denoiser.save_pretrained(folder / self.denoiser, safe_serialization=True, max_shard_size="100GB")
        if modules:
            save_lora(folder, modules)
        return folder / self.denoiser / "diffusion_pytorch_model.safetensors"

    def load_trained(self, folder: Path) -> None:
        """Use stored weights from now on: in the denoiser, and in text encoders where they were trained.

        Raises:
            ValueError: if the folder holds neither LoRA nor the denoiser's weights, or LoRA of another base.
        """
        lora, (_, is_full) = folder / LORA_FILE, trained_files(folder, denoiser=self.denoiser, family=self.family)
        if not is_full and self.denoiser not in (found := lora_components(lora)):
            raise ValueError(f"{lora}: no LoRA weights for {self.denoiser!r}, only for {', '.join(sorted(found))}; "
                             f"this is no model trained by aelif for {self.family}")  # fmt: skip
        self._trained_folder, self._null = folder, None
        self.release("text", "denoiser")
        self._part(self.denoiser)

    def prepare_sampling(self) -> None:
        """Store the denoiser's weights channels last: its convolutions run a tenth faster."""
        self._part(self.denoiser).to(memory_format=torch.channels_last)
