from __future__ import annotations

from pathlib import Path

import prodigyopt
import pytest
import torch
from torch import nn

from aelif.checkpoint import checkpoint_extra, checkpoint_key, load_checkpoint, save_checkpoint

OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9),
    "prodigy": lambda p: prodigyopt.Prodigy(p, use_bias_correction=True, safeguard_warmup=True),
}


def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def step(network: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    (network(x) - x.sum(1, keepdim=True)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_going_on_equals_never_having_stopped(tmp_path: Path, name):
    whole = model()
    optimizer = OPTIMIZERS[name](whole.parameters())
    for number in range(8):
        step(whole, optimizer, number)
        if number == 3:
            save_checkpoint(
                tmp_path / "c.safetensors", whole.state_dict(), optimizer, step=4, key="k", extra={"x": 0.1}
            )
    again = model()
    other = OPTIMIZERS[name](again.parameters())
    assert load_checkpoint(tmp_path / "c.safetensors", again.state_dict(), other) == 4
    assert checkpoint_key(tmp_path / "c.safetensors") == "k"
    assert checkpoint_extra(tmp_path / "c.safetensors") == {"x": 0.1}
    for number in range(4, 8):
        step(again, other, number)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    one, two = optimizer.state_dict(), other.state_dict()
    assert one["param_groups"] == two["param_groups"]
    for index, values in one["state"].items():
        assert {name: str(value) for name, value in values.items()} == {
            name: str(two["state"][index][name]) for name in values
        }


def test_a_tensor_that_is_missing_is_named(tmp_path: Path):
    network = model()
    optimizer = OPTIMIZERS["adamw"](network.parameters())
    save_checkpoint(tmp_path / "c.safetensors", {}, optimizer, step=1)
    with pytest.raises(KeyError, match=r"no tensor '0.weight'"):
        load_checkpoint(tmp_path / "c.safetensors", network.state_dict(), optimizer)


def test_a_write_that_fails_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network, path = model(), tmp_path / "c.safetensors"
    optimizer = OPTIMIZERS["adamw"](network.parameters())
    save_checkpoint(path, network.state_dict(), optimizer, step=1)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        save_checkpoint(path, network.state_dict(), optimizer, step=2)
    assert load_checkpoint(path, network.state_dict(), optimizer) == 1
    assert checkpoint_key(tmp_path / "none.safetensors") is None
