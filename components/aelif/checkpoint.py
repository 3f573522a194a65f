"""Training state on disk: one safetensors file, written whole or not at all.

Tensors are stored as they are; what an optimizer keeps as plain numbers (Prodigy's distance
estimates, 8-bit AdamW's step counts) goes into the file's header as JSON, which gives every
float back to the bit.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

_PLAIN = (bool, int, float, str, type(None))


def save_checkpoint(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    key: str = "",
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write weights, optimizer state and the number of steps done; the file is replaced atomically.

    Args:
        path: the file to write.
        tensors: name → weights or averages, restored by name.
        optimizer: everything in its state is stored, per parameter and per group.
        step: optimizer steps done.
        key: digest of the settings that made the state; `load_checkpoint` returns it for comparison.
        extra: plain values that `checkpoint_extra` gives back.
    """
    from safetensors.torch import save_file

    state = {f"tensor.{name}": _owned(tensor) for name, tensor in tensors.items()}
    stored, numbers = optimizer.state_dict(), {}
    for index, values in stored["state"].items():
        for name, value in values.items():
            if isinstance(value, _PLAIN):
                numbers[f"{index}.{name}"] = value
            else:
                state[f"optimizer.{index}.{name}"] = _owned(value)
    groups = [{name: value for name, value in group.items() if name != "params" and _is_plain(value)}
              for group in stored["param_groups"]]  # fmt: skip
    header = {"numbers": numbers, "groups": groups, "extra": dict(extra or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    save_file(state, temporary, metadata={"step": str(step), "key": key, "header": json.dumps(header)})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())  # a machine that dies after the rename must not leave an empty checkpoint
    temporary.replace(path)


def _owned(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy that shares no storage: 8-bit optimizers share tables, which safetensors refuses."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, (tuple, list)) and all(map(_is_plain, value)))


def checkpoint_key(path: Path) -> str | None:
    """Return the settings digest of a checkpoint, or None where there is no checkpoint."""
    return _metadata(path).get("key", "") if path.exists() else None


def checkpoint_extra(path: Path) -> dict[str, Any]:
    """Return the plain values that a checkpoint was given."""
    return dict(json.loads(_metadata(path).get("header", "{}")).get("extra", {}))


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def load_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> int:
    """Restore weights and optimizer state in place and return the number of steps done.

    Raises:
        KeyError: if the file lacks a tensor that `tensors` names.
    """
    import torch
    from safetensors import safe_open

    state: dict[int, dict[str, Any]] = {}
    with safe_open(path, "pt") as file:
        names, metadata = set(file.keys()), file.metadata() or {}
        with torch.no_grad():
            for name, tensor in tensors.items():
                if f"tensor.{name}" not in names:
                    raise KeyError(f"{path}: no tensor {name!r}")
                tensor.copy_(file.get_tensor(f"tensor.{name}"))
        for name in sorted(names):
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, field = rest.partition(".")
                state.setdefault(int(index), {})[field] = file.get_tensor(name)
    header = json.loads(metadata.get("header", "{}"))
    for name, value in header.get("numbers", {}).items():
        index, _, field = name.partition(".")
        state.setdefault(int(index), {})[field] = value
    groups = optimizer.state_dict()["param_groups"]
    for group, saved in zip(groups, header.get("groups", [{}] * len(groups)), strict=True):
        group.update({name: tuple(v) if isinstance(v, list) else v for name, v in saved.items()})
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state, "param_groups": groups})
    return int(metadata["step"])
