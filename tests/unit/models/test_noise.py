from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from hypothesis import given
from hypothesis import strategies as st

from aelif.models.noise import NoiseSchedule

CONFIG = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TIMES = torch.tensor([0, 10, 500, 999])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_agrees_with_diffusers(prediction):
    schedule = NoiseSchedule.from_config({**CONFIG, "prediction_type": prediction, "unrelated": 1})
    oracle = DDPMScheduler(**CONFIG, prediction_type=prediction)
    latents, noise = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(schedule.add_noise(latents, noise, TIMES), oracle.add_noise(latents, noise, TIMES))
    target = noise if prediction == "epsilon" else oracle.get_velocity(latents, noise, TIMES)
    torch.testing.assert_close(schedule.target(latents, noise, TIMES), target)


def test_min_snr_weights_known_values():
    alphas = torch.tensor([0.9, 0.5, 0.1])  # signal-to-noise 9, 1, 1/9
    times = torch.tensor([0, 1, 2])
    noise = NoiseSchedule(alphas_cumprod=alphas, prediction="epsilon")
    torch.testing.assert_close(noise.loss_weight(times, snr_gamma=5.0), torch.tensor([5 / 9, 1.0, 1.0]))
    velocity = NoiseSchedule(alphas_cumprod=alphas, prediction="v_prediction")
    torch.testing.assert_close(velocity.loss_weight(times, snr_gamma=5.0), torch.tensor([0.5, 0.5, 0.1]))
    assert noise.loss_weight(times, snr_gamma=None).tolist() == [1, 1, 1]


@pytest.mark.parametrize(("prediction", "limit"), [("epsilon", 1.0), ("v_prediction", 0.0)])
def test_zero_terminal_snr_is_finite(prediction, limit):
    schedule = NoiseSchedule.from_config({**CONFIG, "rescale_betas_zero_snr": True, "prediction_type": prediction})
    assert schedule.loss_weight(torch.tensor([999]), snr_gamma=5.0).item() == pytest.approx(limit, abs=1e-6)


@given(time=st.integers(0, 999), gamma=st.floats(0.1, 50.0), velocity=st.booleans(), zero_terminal=st.booleans())
def test_min_snr_agrees_with_diffusers_ratio(time: int, gamma: float, velocity: bool, zero_terminal: bool):
    prediction = "v_prediction" if velocity else "epsilon"
    config = {**CONFIG, "prediction_type": prediction, "rescale_betas_zero_snr": zero_terminal}
    weight = NoiseSchedule.from_config(config).loss_weight(torch.tensor([time]), snr_gamma=gamma).item()
    snr = compute_snr(DDPMScheduler(**config), torch.tensor([time])).item()
    expected = min(snr, gamma) / (snr + 1) if velocity else min(snr, gamma) / snr if snr > 0 else 1.0
    assert weight == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert 0 <= weight <= 1


def test_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="prediction_type = 'sample'"):
        NoiseSchedule.from_config({**CONFIG, "prediction_type": "sample"})
