from __future__ import annotations

import sys

import pytest
import torch
from tests.unit.train.conftest import settings
from torch.nn import Parameter

from aelif.config import LoraConfig, OptimizerConfig
from aelif.train.optimizer import import_optimizer, make_optimizer, set_rates

CPU = torch.device("cpu")


def weights() -> dict[str, Parameter]:
    return {name: Parameter(torch.ones(4)) for name in ("unet.a", "text_encoder.b", "text_encoder_2.c", "unet.d")}


def test_text_encoders_have_a_rate_of_their_own():
    named, config = weights(), settings(steps=10, learning_rate=1e-3, lora=LoraConfig(text_learning_rate=1e-5))
    optimizer = make_optimizer(named, config, device=CPU)
    set_rates(optimizer, 9, config)
    assert [group["params"] for group in optimizer.param_groups] == [
        [named["unet.a"], named["unet.d"]],
        [named["text_encoder.b"], named["text_encoder_2.c"]],
    ]
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first / second == pytest.approx(100)
    assert 0 < first < 1e-3


def test_prodigy_has_rate_one_and_descends():
    config = settings(steps=60, optimizer="prodigy", learning_rate=1e-9)
    named = weights()
    optimizer = make_optimizer(named, config, device=CPU)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 1.0]
    for step in range(60):
        set_rates(optimizer, step, config)
        optimizer.zero_grad()
        sum(((parameter - 3) ** 2).sum() for parameter in named.values()).backward()
        optimizer.step()
    assert optimizer.param_groups[0]["d"] > 1e-6
    assert all(parameter.mean() > 1.0 for parameter in named.values())


def test_prodigy_says_nothing(capsys):
    make_optimizer(weights(), settings(optimizer="prodigy"), device=CPU)
    assert capsys.readouterr().out == ""


def test_8_bit_adamw_needs_a_gpu():
    with pytest.raises(ValueError, match=r"optimizer.name = 'adamw_8bit': it needs a CUDA GPU, and this is a cpu"):
        import_optimizer(OptimizerConfig(name="adamw_8bit"), device=CPU)


@pytest.mark.parametrize(("name", "module"), [("adamw_8bit", "bitsandbytes"), ("prodigy", "prodigyopt")])
def test_a_missing_library_is_named_with_its_remedy(name, module, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"{name}.*needs {module}.*pip install 'aelif\[optimizers\]'"):
        import_optimizer(OptimizerConfig(name=name), device=torch.device("cuda"))
