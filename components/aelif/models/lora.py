"""Low-rank adapters on attention: adding them by peft, storing and merging them by plain arithmetic.

The stored file is the one that `StableDiffusionXLPipeline.load_lora_weights` reads. Its alpha
equals its rank, so that merging is W + B A.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aelif.randomness import derive_seed

if TYPE_CHECKING:
    from torch import nn

LORA_FILE = "pytorch_lora_weights.safetensors"
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""Attention projections, self and cross, that get an adapter."""

_ADAPTER = "default"


def add_lora(denoiser: nn.Module, *, rank: int, seed: int) -> None:
    """Wrap the attention projections in LoRA layers, whose A is drawn from `seed` and whose B is zero.

    Initial weights are drawn by the library from the global generator; it is forked, so that no
    caller sees it changed. The layers are float32, whatever the frozen weights are.
    """
    import torch
    from peft import LoraConfig

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS), init_lora_weights=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "train/lora"))
        denoiser.add_adapter(config, adapter_name=_ADAPTER)  # type: ignore[operator]
    for parameter in denoiser.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def save_lora(denoiser: nn.Module, folder: Path, *, component: str = "unet") -> Path:
    """Write the adapters of a denoiser as `pytorch_lora_weights.safetensors` and return the file."""
    from safetensors.torch import save_file

    marks = {f".lora_{side}.{_ADAPTER}.weight": f".lora_{side}.weight" for side in "AB"}
    state = {}
    for name, parameter in denoiser.named_parameters():
        for inner, outer in marks.items():
            if name.endswith(inner):
                state[f"{component}.{name.removesuffix(inner)}{outer}"] = parameter.detach().cpu().contiguous()
    path = folder / LORA_FILE
    save_file(state, path, metadata={"format": "pt"})
    return path


def merge_lora(denoiser: nn.Module, path: Path, *, component: str = "unet") -> None:
    """Add the stored B A onto the weights they adapt; nothing stays wrapped, so sampling costs no more.

    Raises:
        ValueError: if the file names a layer that the denoiser lacks, or has no adapters for it.
    """
    import torch
    from safetensors.torch import load_file

    state = load_file(path)
    downs = [name for name in state if name.endswith(".lora_A.weight") and name.startswith(f"{component}.")]
    if not downs:
        raise ValueError(f"{path}: no LoRA weights for {component!r}")
    layers = dict(denoiser.named_modules())
    with torch.no_grad():
        for down in downs:
            name = down.removeprefix(f"{component}.").removesuffix(".lora_A.weight")
            if name not in layers:
                raise ValueError(f"{path}: the base model has no layer {name!r}; was it trained on another base?")
            weight = layers[name].weight
            delta = state[down.replace(".lora_A.", ".lora_B.")].float() @ state[down].float()
            weight.copy_(weight.float() + delta.to(weight.device))
