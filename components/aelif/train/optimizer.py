"""Optimizers and the rates of their parameter groups."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from aelif.config import OptimizerConfig, TrainConfig
from aelif.train.schedule import rate_factor

if TYPE_CHECKING:
    from torch.nn import Parameter

_EXTRAS = {"adamw_8bit": "bitsandbytes", "prodigy": "prodigyopt"}
STATE_BYTES = {"adamw": 8, "adamw_8bit": 2, "prodigy": 16}
"""Bytes of state per trained weight: two moments, of 32 or 8 bits; Prodigy keeps two vectors more."""


def import_optimizer(config: OptimizerConfig, *, device: torch.device) -> Any:
    """Return the optimizer's class, or say what it needs.

    Raises:
        ValueError: if its library is not installed, or it needs a GPU and there is none.
    """
    if config.name == "adamw":
        return torch.optim.AdamW
    if config.name == "adamw_8bit" and device.type != "cuda":
        raise ValueError(f"optimizer.name = 'adamw_8bit': it needs a CUDA GPU, and this is a {device.type}; "
                         "give 'adamw'")  # fmt: skip
    try:
        module = importlib.import_module(_EXTRAS[config.name])
    except ImportError as error:
        raise ValueError(f"optimizer.name = {config.name!r}: it needs {_EXTRAS[config.name]} ({error}); "
                         "run pip install 'aelif[optimizers]'") from error  # fmt: skip
    return module.optim.AdamW8bit if config.name == "adamw_8bit" else module.Prodigy


def make_optimizer(weights: Mapping[str, Parameter], config: TrainConfig, *, device: torch.device) -> Any:
    """Return the optimizer of the trained weights: the denoiser's in one group, the text encoders' in another.

    Prodigy finds the rate by itself: its groups have rate 1, and `learning_rate` is not used.
    """
    chosen, texts = config.optimizer, [name for name in weights if name.startswith("text_encoder")]
    rates = {False: chosen.learning_rate, True: config.lora.text_learning_rate}
    groups = []
    for is_text, rate in rates.items():
        members = [parameter for name, parameter in weights.items() if (name in texts) == is_text]
        peak = 1.0 if chosen.name == "prodigy" else rate
        if members:
            groups.append({"params": members, "lr": peak, "initial_lr": peak})
    kind = import_optimizer(chosen, device=device)
    if chosen.name == "prodigy":
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how it decays weights
            return kind(groups, lr=1.0, weight_decay=chosen.weight_decay, use_bias_correction=True,
                        safeguard_warmup=True)  # fmt: skip
    fused = {"fused": True} if chosen.name == "adamw" else {}
    return kind(groups, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, **fused)


def set_rates(optimizer: Any, step: int, config: TrainConfig) -> None:
    """Set each group's rate for an optimizer step."""
    factor = rate_factor(step, steps=config.steps, config=config.optimizer)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
