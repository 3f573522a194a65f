"""Low-rank adapters: adding them, storing them as stock pipelines read them, and merging them; by peft.

The stored alpha is the rank: B carries the factor alpha / rank. So the file alone says all, also to
programs that read no adapter metadata, and its bytes are a function of the weights
(safetensors writes several metadata entries in random order).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelif.config import LoraConfig
from aelif.randomness import derive_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

LORA_FILE = "pytorch_lora_weights.safetensors"
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
"""Attention projections of CLIP text encoders."""

_ADAPTER = "default"
_CLIP_PREFIX = "text_model."
"""Stands before CLIP's layers in files; `CLIPTextModel` has lost it, `CLIPTextModelWithProjection` has not."""


def add_lora(
    module: nn.Module, *, config: LoraConfig, targets: tuple[str, ...] | str, seed: int, component: str
) -> None:
    """Wrap layers in LoRA, whose A is drawn from (`seed`, `component`) and whose B is zero.

    Initial weights are drawn by the library from the global generator; it is forked, so that no
    caller sees it changed. The layers are float32, whatever the frozen weights are.
    """
    import peft
    import torch

    adaptable: Any = module  # of diffusers or transformers: both have peft's methods
    alpha: Any = config.alpha  # peft declares an integer, and divides it by the rank
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=alpha, lora_dropout=config.dropout, use_dora=config.dora,
        target_modules=targets if isinstance(targets, str) else list(targets), init_lora_weights=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, f"train/lora/{component}"))  # the CPU's alone
        adaptable.add_adapter(settings, adapter_name=_ADAPTER)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def save_lora(folder: Path, modules: Mapping[str, nn.Module]) -> Path:
    """Write the adapters of all modules as one `pytorch_lora_weights.safetensors` and return the file.

    `StableDiffusionPipeline.load_lora_weights`, and those of the other families, read it.

    Args:
        folder: where to write; made if need be.
        modules: folder of the part (``unet``, ``text_encoder``) → the module that `add_lora` changed.
    """
    from safetensors.torch import save_file

    state = {f"{component}.{name}": tensor for component, module in modules.items()
             for name, tensor in _adapter_state(module, component).items()}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / LORA_FILE, metadata={"format": "pt"})
    return folder / LORA_FILE


def _adapter_state(module: nn.Module, component: str) -> dict[str, Tensor]:
    """Return the adapters' tensors by their stored names, in float32 on the CPU, alpha / rank in B."""
    from peft.utils.save_and_load import get_peft_model_state_dict

    adapted: Any = module
    settings = adapted.peft_config[_ADAPTER]
    # False: with "auto", peft would ask the hub whether the vocabulary has grown
    state = get_peft_model_state_dict(module, adapter_name=_ADAPTER, save_embedding_layers=False)
    is_text = component.startswith("text_encoder")
    stored = {}
    for name, tensor in state.items():
        scale = settings.lora_alpha / settings.r if ".lora_B." in name else 1.0
        prefix = _CLIP_PREFIX if is_text and not name.startswith(_CLIP_PREFIX) else ""
        # peft leaves ".weight" off, and reads both; transformers 5 drops DoRA's magnitudes silently without it
        suffix = ".weight" if is_text and name.endswith(".lora_magnitude_vector") else ""
        stored[prefix + name + suffix] = (tensor.detach().float() * scale).cpu().contiguous()
    return stored


def trained_files(folder: Path, *, denoiser: str, family: str) -> tuple[bool, bool]:
    """Return whether a folder that training wrote holds adapters, and whether it holds a whole denoiser.

    Raises:
        ValueError: if it holds neither.
    """
    found = (folder / LORA_FILE).exists(), (folder / denoiser / "config.json").exists()
    if not any(found):
        raise ValueError(
            f"{folder}: neither {LORA_FILE} nor {denoiser}/; this is no model trained by aelif for {family}"
        )
    return found


def lora_components(path: Path) -> set[str]:
    """Return which parts a stored LoRA is for: ``unet``, ``text_encoder`` …; reads names alone."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping


def merge_lora(module: nn.Module, path: Path, *, component: str) -> None:
    """Add the stored adapters onto the weights they adapt; nothing stays wrapped, so sampling costs no more.

    Where the file has nothing for `component`, nothing happens. Sums are formed in float32,
    and half-precision weights are rounded once.

    Raises:
        ValueError: if the file names a layer that the module lacks, or one of another size.
    """
    import peft
    import torch
    from peft.utils.save_and_load import set_peft_model_state_dict

    state = _stored_state(module, path, component)
    if not state:
        return
    layers = _adapted_layers(module, state, path)
    dtypes = {name: layer.weight.dtype for name, layer in layers.items()}
    for layer in layers.values():
        layer.float()
    rank = next(len(tensor) for name, tensor in state.items() if name.endswith(".lora_A.weight"))
    dora = any(".lora_magnitude_vector" in name for name in state)
    settings = peft.LoraConfig(r=rank, lora_alpha=rank, use_dora=dora, target_modules=sorted(layers))
    with torch.random.fork_rng(devices=[]):  # peft draws weights, which are overwritten at once
        tuner = peft.LoraModel(module, settings, _ADAPTER, state_dict=state)
    set_peft_model_state_dict(module, state, adapter_name=_ADAPTER)
    tuner.merge_and_unload(safe_merge=True)
    for name, layer in layers.items():
        layer.to(dtypes[name])


def _stored_state(module: nn.Module, path: Path, component: str) -> dict[str, Tensor]:
    """Return what the file has for one part, named as the module names its layers."""
    from safetensors.torch import load_file

    state = {}
    for key, tensor in load_file(path).items():
        part, _, name = key.partition(".")
        if part == component:
            stripped = name if hasattr(module, _CLIP_PREFIX[:-1]) else name.removeprefix(_CLIP_PREFIX)
            state[stripped] = tensor
    return state


def _adapted_layers(module: nn.Module, state: dict[str, Tensor], path: Path) -> dict[str, nn.Linear]:
    """Return the layers that the stored adapters are for, by name.

    Raises:
        ValueError: if the module has no such layer, or one of another size.
    """
    modules = dict(module.named_modules())
    layers = {}
    for name, down_RI in state.items():
        if not name.endswith(".lora_A.weight"):
            continue
        layer = name.removesuffix(".lora_A.weight")
        if layer not in modules:
            raise ValueError(f"{path}: the base model has no layer {layer!r}; was it trained on another base?")
        up_OR, weight_OI = state[f"{layer}.lora_B.weight"], modules[layer].weight
        if (len(up_OR), down_RI.shape[1]) != tuple(weight_OI.shape):
            raise ValueError(f"{path}: layer {layer!r} is {len(up_OR)}x{down_RI.shape[1]}, but the base model's is "
                             f"{'x'.join(map(str, weight_OI.shape))}; was it trained on another base?")  # fmt: skip
        layers[layer] = modules[layer]
    return layers
