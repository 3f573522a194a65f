"""Training state on disk: one safetensors file, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


def save_checkpoint(
    path: Path, tensors: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, *, step: int, key: str = ""
) -> None:
    """Write weights, optimizer state and the number of steps done; the file is replaced atomically.

    Args:
        path: the file to write.
        tensors: name → weights or averages, restored by name.
        optimizer: its per-parameter tensors are stored (AdamW: step and both moments).
        step: optimizer steps done.
        key: digest of the settings that made the state; `load_checkpoint` returns it for comparison.
    """
    from safetensors.torch import save_file

    state = {f"tensor.{name}": tensor.detach().contiguous() for name, tensor in tensors.items()}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            state[f"optimizer.{index}.{name}"] = value.detach().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    save_file(state, temporary, metadata={"step": str(step), "key": key})
    temporary.replace(path)


def checkpoint_key(path: Path) -> str | None:
    """Return the settings digest of a checkpoint, or None where there is no checkpoint."""
    from safetensors import safe_open

    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("key", "")


def load_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> int:
    """Restore weights and optimizer state in place and return the number of steps done.

    Raises:
        KeyError: if the file lacks a tensor that `tensors` names.
    """
    import torch
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = set(file.keys())
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(file.get_tensor(f"tensor.{name}"))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name in names:
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, field = rest.partition(".")
                state.setdefault(int(index), {})[field] = file.get_tensor(name)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return int((file.metadata() or {})["step"])
