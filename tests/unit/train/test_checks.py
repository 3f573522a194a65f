"""Settings that do not fit are refused before any work; broken numbers before they are stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.tiny import write_tiny_sd3
from tests.unit.train.conftest import settings

from aelif.config import AugmentationConfig, DataConfig, Trial
from aelif.progress import StepProgress
from aelif.train import dreambooth
from aelif.train.checks import check_finite
from aelif.train.devices import choose_precision


@pytest.fixture(scope="session")
def flow_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd3(tmp_path_factory.mktemp("checks") / "sd3")


def data_of(size: int = 64) -> DataConfig:
    return DataConfig(instance_images="x", instance_prompt="a sks cat", class_prompt="a cat", image_size=size)


MASKING = {"augmentation": AugmentationConfig(mask_attention=True)}


@pytest.mark.parametrize(
    ("family", "data", "changes", "message"),
    [
        ("sdxl", data_of(), {"time_sampling": "mode"}, "time_sampling = 'mode'"),
        ("sdxl", data_of(), {"loss_weighting": "cosmap"}, "loss_weighting = 'cosmap'"),
        ("sdxl", data_of(), {"optimizer": "adamw_8bit"}, r"optimizer\.name = 'adamw_8bit': it needs a CUDA GPU"),
        ("sdxl", data_of(), {"mixed_precision": "fp16"}, "mixed_precision = 'fp16': it needs a GPU"),
        ("sdxl", data_of(), {"prior": None}, "prior_preservation = True: it needs class images"),
        ("sd3", data_of(), {"loss_weighting": "min_snr"}, "loss_weighting = 'min_snr'"),
        ("sd3", data_of(), MASKING, "mask_attention = True: the denoiser of sd3 reads no attention mask"),
        ("sd3", data_of(72), {}, "image_size = 72: sd3 takes multiples of 16, such as 64"),
    ],
)
def test_settings_are_refused_before_any_work(
    base: Path, flow_base: Path, tmp_path: Path, family, data, changes, message, monkeypatch: pytest.MonkeyPatch
):
    if torch.cuda.is_available():
        pytest.skip("these are refusals of a machine without a GPU")
    monkeypatch.setattr(dreambooth, "cache_inputs", lambda *_, **__: pytest.fail("work began"))
    rest = {key: value for key, value in changes.items() if key != "prior"}
    with pytest.raises(ValueError, match=message):
        dreambooth.fine_tune(
            base=base if family == "sdxl" else flow_base, photos=tmp_path, data=data,
            class_images=changes.get("prior", tmp_path), output=tmp_path / "out",
            trial=Trial.parse("baseline/seed=0"), config=settings(**rest), checkpoint_dir=None,
            progress=StepProgress("train", "test"),
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_precision():
    assert choose_precision(settings(), cuda=False) == "no"
    assert choose_precision(settings(mixed_precision="fp32"), cuda=True) == "no"
    assert choose_precision(settings(mixed_precision="bf16"), cuda=False) == "bf16"
    assert choose_precision(settings(mixed_precision="fp16"), cuda=True) == "fp16"


def check(losses, norms, weights=(1.0,), skips=0):
    check_finite(
        torch.tensor(losses), torch.tensor(norms), [torch.tensor(weights)], skips=skips, learning_rate=0.1,
        files_of=lambda step: [f"of-{step}.png"],
    )  # fmt: skip


def test_the_first_broken_step_is_named_with_its_files():
    check([1.0, 2.0], [0.5, 0.5])
    nan, inf = float("nan"), float("inf")
    with pytest.raises(
        FloatingPointError, match=r"^step 2: loss nan, gradient norm 0.5, from of-1.png; lower learning"
    ):
        check([1.0, nan, nan], [0.5, 0.5, 0.5])
    with pytest.raises(FloatingPointError, match=r"^step 1: loss 1, gradient norm inf, from of-0.png"):
        check([1.0, 1.0], [inf, 1.0])
    with pytest.raises(FloatingPointError, match=r"weights are no longer finite after step 2: .* from of-1\.png"):
        check([1.0, 1.0], [1.0, 1.0], weights=(1.0, nan))


def test_float16_may_skip_steps_but_not_for_ever():
    inf = float("inf")
    check([1.0] * 5, [inf, inf, 1.0, inf, inf], skips=2)
    with pytest.raises(FloatingPointError, match="step 4"):
        check([1.0] * 5, [1.0, inf, inf, inf, 1.0], skips=2)
