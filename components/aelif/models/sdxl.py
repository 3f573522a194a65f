"""Stable Diffusion XL, and whatever has its parts: two CLIP encoders, AutoencoderKL, a U-Net.

Shape legend as in `aelif.models.adapter`; S is the number of size numbers (6).
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from aelif.artifacts import read_json
from aelif.models.adapter import Method, Part, Solver, TextCondition, TokenKind
from aelif.models.loading import load_part, load_tokenizer
from aelif.models.lora import LORA_FILE, add_lora, merge_lora, save_lora
from aelif.models.noise import NoiseSchedule

if TYPE_CHECKING:
    from torch.nn import Parameter

_FOLDERS: dict[Part, tuple[str, ...]] = {
    "text": ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"),
    "autoencoder": ("vae",),
    "denoiser": ("unet",),
}


class StableDiffusionXL:
    """Adapter of one diffusers folder (see `aelif.models.adapter.ModelAdapter`)."""

    family = "sdxl"

    def __init__(self, base: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> None:
        self._base, self._device, self._dtype = base, torch.device(device), dtype or torch.float32
        self._index = read_json(base / "model_index.json")
        self._scheduler_config = read_json(base / "scheduler" / "scheduler_config.json")
        self._autoencoder_config = read_json(base / "vae" / "config.json")
        self._factor = 2 ** (len(self._autoencoder_config["block_out_channels"]) - 1)
        self._schedule = NoiseSchedule.from_config(self._scheduler_config, device=self._device)
        self._loaded: dict[str, Any] = {}
        self.image_size = int(read_json(base / "unet" / "config.json")["sample_size"]) * self._factor

    # ── Parts ──────────────────────────────────────────────────────────────────────────────────

    def _part(self, name: str) -> Any:
        """Return a part by its folder's name, loading it the first time: frozen, in evaluation mode."""
        if name not in self._loaded:
            folder = self._base / name
            if name.startswith("tokenizer"):
                self._loaded[name] = load_tokenizer(folder)
            else:
                dtype = self._dtype if name == "unet" else torch.float32
                module = load_part(name, folder, dtype=dtype)
                self._loaded[name] = module.to(self._device).eval().requires_grad_(False)
        return self._loaded[name]

    def release(self, *parts: Part) -> None:
        """Free parts; a later use loads them again."""
        for part in parts:
            for name in _FOLDERS[part]:
                self._loaded.pop(name, None)
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    # ── Text ───────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Return embeddings (B, 77, D) of both encoders side by side, and the second's pooled one.

        The embeddings are the last but one hidden states, as in the stock pipeline.
        """
        embeddings, pooled_BP, mask_BL = [], None, None
        for suffix in ("", "_2"):
            tokens = self._tokens(suffix, prompts)
            output = self._part(f"text_encoder{suffix}")(
                tokens["input_ids"].to(self._device), output_hidden_states=True
            )
            embeddings.append(output.hidden_states[-2])
            mask_BL = tokens["attention_mask"] if mask_BL is None else mask_BL
            pooled_BP = output[0]
        assert mask_BL is not None
        return TextCondition(
            prompt_embeds=torch.cat(embeddings, dim=-1),
            pooled=pooled_BP,
            token_kinds=_token_kinds(mask_BL).to(self._device),
        )

    def _tokens(self, suffix: str, prompts: Sequence[str]) -> Any:
        tokenizer = self._part(f"tokenizer{suffix}")
        length = self._max_tokens
        return tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")

    @property
    def _max_tokens(self) -> int:
        return int(read_json(self._base / "text_encoder" / "config.json")["max_position_embeddings"])

    def null_condition(self, rows: int) -> TextCondition:
        """Return zeros where the model asks for them (`force_zeros_for_empty_prompt`), else the empty prompt."""
        if not self._index.get("force_zeros_for_empty_prompt", True):
            return self.encode_text([""]).select(torch.zeros(rows, dtype=torch.long, device=self._device))
        widths = [read_json(self._base / f"text_encoder{s}" / "config.json") for s in ("", "_2")]
        shape = (rows, self._max_tokens, sum(int(config["hidden_size"]) for config in widths))
        return TextCondition(
            prompt_embeds=torch.zeros(shape, device=self._device),
            pooled=torch.zeros(rows, int(widths[1]["projection_dim"]), device=self._device),
            token_kinds=torch.full(shape[:2], int(TokenKind.PAD), dtype=torch.int8, device=self._device),
        )

    def kept_text(self, prompt: str) -> str:
        """Return the part of the prompt that fits 77 tokens, lower-cased as CLIP reads it."""
        return str(self._part("tokenizer").decode(self._tokens("", [prompt])["input_ids"][0], skip_special_tokens=True))

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
            return torch.zeros((), device=self._device), scale
        shift_1C11 = torch.tensor(mean, device=self._device).view(1, -1, 1, 1)
        return shift_1C11, scale / torch.tensor(std, device=self._device).view(1, -1, 1, 1)

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """Return (C, h, w)."""
        side = image_size // self._factor
        return int(self._autoencoder_config["latent_channels"]), side, side

    # ── Diffusion ──────────────────────────────────────────────────────────────────────────────

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Return uniform timesteps."""
        high = len(self._schedule.alphas_cumprod)
        return torch.randint(high, (count,), generator=generator).to(self._device)

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return the latents diffused to each row's timestep."""
        return self._schedule.add_noise(latents_BCHW, noise_BCHW, times_B)

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, times_B: Tensor) -> Tensor:
        """Return noise or velocity, as the scheduler's configuration says."""
        return self._schedule.target(latents_BCHW, noise_BCHW, times_B)

    def loss_weight(self, times_B: Tensor, *, snr_gamma: float | None) -> Tensor:
        """Return min-SNR weights."""
        return self._schedule.loss_weight(times_B, snr_gamma=snr_gamma)

    def predict(self, noisy_BCHW: Tensor, times_B: Tensor, condition: TextCondition, *, image_size: int) -> Tensor:
        """Return the U-Net's prediction in float32, told that the image is uncropped and of `image_size`."""
        unet, rows = self._part("unet"), len(noisy_BCHW)
        assert condition.pooled is not None
        sizes_S = [image_size, image_size, 0, 0, image_size, image_size]
        time_ids_BS = torch.tensor(sizes_S, device=self._device, dtype=self._dtype).expand(rows, -1)
        added = {"text_embeds": condition.pooled.to(self._dtype), "time_ids": time_ids_BS}
        embeds_BLD = condition.prompt_embeds.to(self._dtype)
        prediction = unet(noisy_BCHW.to(self._dtype), times_B, embeds_BLD, added_cond_kwargs=added, return_dict=False)[
            0
        ]
        return prediction.float()

    def solver(self, steps: int) -> Solver:
        """Return DPM-Solver++ (arXiv 2211.01095), second order, on the base model's own schedule."""
        solver = DPMSolverMultistepScheduler.from_config(self._scheduler_config)
        solver.set_timesteps(steps, device=self._device)
        return solver

    # ── Weights ────────────────────────────────────────────────────────────────────────────────

    def prepare_training(self, *, method: Method, rank: int, seed: int) -> dict[str, Parameter]:
        """Return the trainable parameters by name: LoRA matrices, or every weight of the U-Net."""
        unet = self._part("unet")
        if method == "lora":
            add_lora(unet, rank=rank, seed=seed)
        else:
            unet.requires_grad_(True)
        return {name: parameter for name, parameter in unet.named_parameters() if parameter.requires_grad}

    def save_trained(self, folder: Path, *, method: Method) -> Path:
        """Write `pytorch_lora_weights.safetensors`, or `unet/` in diffusers' layout."""
        if method == "lora":
            return save_lora(self._part("unet"), folder)
        self._part("unet").save_pretrained(folder / "unet", safe_serialization=True, max_shard_size="100GB")
        return folder / "unet" / "diffusion_pytorch_model.safetensors"

    def load_trained(self, folder: Path) -> None:
        """Put stored weights into the U-Net.

        Raises:
            ValueError: if the folder holds neither LoRA nor U-Net weights.
        """
        if (folder / LORA_FILE).exists():
            merge_lora(self._part("unet"), folder / LORA_FILE)
        elif (folder / "unet" / "config.json").exists():
            module = load_part("unet", folder / "unet", dtype=self._dtype)
            self._loaded["unet"] = module.to(self._device).eval().requires_grad_(False)
        else:
            raise ValueError(f"{folder}: neither {LORA_FILE} nor unet/; this is no model trained by aelif")

    def prepare_sampling(self) -> None:
        """Store the U-Net's weights channels last: its convolutions run a tenth faster."""
        self._part("unet").to(memory_format=torch.channels_last)


def _token_kinds(mask_BL: Tensor) -> Tensor:
    """Return `TokenKind`s from CLIP's attention mask: begin, words, end, then padding."""
    kinds_BL = mask_BL.to(torch.int8) * int(TokenKind.CONTENT)
    kinds_BL[:, 0] = int(TokenKind.BOS)
    last_B = mask_BL.sum(dim=1) - 1
    kinds_BL[torch.arange(len(mask_BL)), last_B] = int(TokenKind.EOS)
    return kinds_BL
