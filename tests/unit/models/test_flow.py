"""Flow matching: its arithmetic against diffusers and closed forms, then training of SD3 and FLUX alike."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, StableDiffusion3Pipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_loss_weighting_for_sd3
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import write_tiny_flux, write_tiny_sd3

from aelif.config import LoraConfig, TrainConfig
from aelif.models.adapter import open_model
from aelif.models.flow import FlowMatching

PROMPTS = ["a photo of sks backpack", "a poto of sks bakpack on the red beach"]
SAMPLINGS = ["family", "uniform", "logit_normal", "mode"]


def write_configs(folder: Path, **scheduler: object) -> Path:
    """Write an SD3 folder without weights: enough for arithmetic."""
    files = {
        "model_index.json": {"_class_name": "StableDiffusion3Pipeline"},
        "scheduler/scheduler_config.json": dict(FlowMatchEulerDiscreteScheduler(**scheduler).config),
        "vae/config.json": {"block_out_channels": [8, 8, 16, 16], "latent_channels": 16},
        "transformer/config.json": {"sample_size": 8, "patch_size": 2},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> FlowMatching:
    return open_model(write_configs(tmp_path_factory.mktemp("flow"), shift=3.0))


# ── Times, noise, targets, weights ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("shift", "dynamic"), [(1.0, False), (3.0, False), (3.0, True)])
def test_times_are_those_of_the_diffusers_scripts(tmp_path: Path, sampling, shift, dynamic):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift, use_dynamic_shifting=dynamic)
    adapter = open_model(write_configs(tmp_path, shift=shift, use_dynamic_shifting=dynamic))
    density = compute_density_for_timestep_sampling(
        "logit_normal" if sampling == "family" else sampling, 4000, logit_mean=0.0, logit_std=1.0, mode_scale=1.29,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    # The scripts index times that fall from 1000 by draws that are symmetric: ours count from the other end.
    oracle = scheduler.timesteps[((1 - density) * 1000).long().clamp(0, 999)]
    times = adapter.draw_times(4000, torch.Generator().manual_seed(3), sampling=sampling)
    step = 1 if dynamic else shift  # the scripts' grid, a thousandth, widened by the shift
    assert (times - oracle).abs().max() <= step * 1.001
    assert 0 < times.min() <= times.max() <= 1000


def test_shifted_logit_normal_times_have_their_logits_moved_by_the_logarithm(flow: FlowMatching):
    times = flow.draw_times(40_000, torch.Generator().manual_seed(0), sampling="logit_normal")
    logits = (times / 1000).double().logit()
    assert logits.mean().item() == pytest.approx(math.log(3), abs=0.02)
    assert logits.std().item() == pytest.approx(1, abs=0.02)


def test_noise_agrees_with_diffusers(flow: FlowMatching):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    times = scheduler.timesteps[[0, 10, 500, 999]]
    latents, noise = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = scheduler.scale_noise(latents, times, noise)
    torch.testing.assert_close(flow.add_noise(latents, noise, times), expected)


@given(first=st.floats(0, 1000), second=st.floats(0, 1000), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_target_is_the_slope_of_the_path_from_image_to_noise(flow: FlowMatching, first, second, seed):
    latents, noise = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start, end = (torch.tensor([time], dtype=torch.float64) for time in (first, second))
    travelled = flow.add_noise(latents, noise, end) - flow.add_noise(latents, noise, start)
    torch.testing.assert_close(travelled, flow.target(latents, noise, start) * (end - start) / 1000)


@pytest.mark.parametrize("weighting", ["family", "uniform", "sigma_sqrt", "cosmap"])
def test_loss_weights_are_those_of_diffusers(flow: FlowMatching, weighting):
    times = torch.tensor([1.0, 250.0, 500.0, 1000.0])
    expected = compute_loss_weighting_for_sd3(weighting, sigmas=times / 1000)
    torch.testing.assert_close(flow.loss_weight(times, weighting=weighting, snr_gamma=5.0), expected)


def test_no_time_is_drawn_below_the_schedules_smallest(flow: FlowMatching):
    times = flow.draw_times(100_000, torch.Generator().manual_seed(0), sampling="uniform")
    assert flow.loss_weight(times, weighting="sigma_sqrt", snr_gamma=5.0).max() <= (1000 / 2.99) ** 2


def test_weights_of_diffusion_are_refused(flow: FlowMatching):
    with pytest.raises(ValueError, match=r"loss_weighting = 'min_snr': .* give 'uniform', 'sigma_sqrt' or 'cosmap'"):
        flow.loss_weight(torch.ones(1), weighting="min_snr", snr_gamma=5.0)


# ── Solver ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("image_size", [64, 512, 1024])
def test_the_dynamic_shift_is_the_stock_pipelines(tmp_path: Path, image_size: int):
    config = {"use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.4, "max_shift": 1.16}
    stock = FlowMatchEulerDiscreteScheduler(**config)
    stock.set_timesteps(7, mu=calculate_shift((image_size // 16) ** 2, base_shift=0.4, max_shift=1.16))
    solver = open_model(write_configs(tmp_path, **config)).solver(7, image_size=image_size)
    torch.testing.assert_close(solver.timesteps, stock.timesteps)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_straight_flow_is_followed_to_the_image(tmp_path: Path, steps: int):
    adapter = open_model(write_configs(tmp_path, shift=3.0, stochastic_sampling=True))
    image, noise = torch.randn(2, 2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    solver, latents = adapter.solver(steps, image_size=64), noise
    for time in solver.timesteps:
        velocity = adapter.target(image, noise, time.expand(2))
        torch.testing.assert_close(latents, adapter.add_noise(image, noise, time.expand(2)), atol=1e-5, rtol=1e-4)
        latents = solver.step(velocity, time, latents, return_dict=False)[0]
    torch.testing.assert_close(latents, image, atol=1e-5, rtol=1e-4)


# ── Training, the same for both families ───────────────────────────────────────────────────────

_LAST_ATTENTION = "transformer.transformer_blocks.1.attn"
UNUSED = {"sd3": {f"{_LAST_ATTENTION}.add_q_proj", f"{_LAST_ATTENTION}.norm_added_q"}, "flux": set()}
"""Without effect: the last block of SD3 drops what its text tokens asked for."""
PIPELINES = {"sd3": StableDiffusion3Pipeline, "flux": FluxPipeline}


@pytest.fixture(scope="module", params=["sd3", "flux"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "base"
    return write_tiny_sd3(folder, t5=True) if request.param == "sd3" else write_tiny_flux(folder)


def open_tiny(base: Path, **options: object) -> FlowMatching:
    return open_model(base, max_sequence_length=16, **options)


def predict(adapter: FlowMatching, condition) -> torch.Tensor:
    noisy = torch.randn(len(PROMPTS), 16, 8, 8, generator=torch.Generator().manual_seed(0))
    return adapter.predict(noisy, torch.tensor([300.0, 800.0]), condition)


def backward(adapter: FlowMatching, condition) -> None:
    """Accumulate the gradient of a flow-matching loss."""
    latents, noise = torch.randn(2, 2, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    times = adapter.draw_times(2, torch.Generator().manual_seed(2), sampling="family")
    prediction = adapter.predict(adapter.add_noise(latents, noise, times), times, condition)
    (prediction - adapter.target(latents, noise, times)).square().mean().backward()


def without_gradient(parameters: dict[str, torch.nn.Parameter], *, ending: str) -> set[str]:
    return {
        name.removesuffix(ending).removesuffix(".weight").removesuffix(".bias")
        for name, parameter in parameters.items()
        if name.endswith(ending) and (parameter.grad is None or not parameter.grad.any())
    }


@pytest.mark.parametrize("targets", ["attention", "attention+mlp", "all"])
def test_every_adapter_of_every_preset_learns(base: Path, targets):
    adapter = open_tiny(base)
    condition = adapter.encode_text(PROMPTS)
    parameters = adapter.prepare_training(TrainConfig(lora=LoraConfig(rank=2, targets=targets)), seed=0)
    unused = UNUSED[adapter.family] & {name.partition(".lora_")[0] for name in parameters}
    backward(adapter, condition)
    assert without_gradient(parameters, ending=".lora_B.default.weight") == unused
    torch.optim.SGD(parameters.values(), lr=1.0).step()
    backward(adapter, condition)
    assert without_gradient(parameters, ending=".lora_A.default.weight") == unused


def test_presets_wrap_the_layers_that_they_name(base: Path):
    wrapped = {}
    for targets in ("attention", "attention+mlp", "all"):
        adapter = open_tiny(base)
        parameters = adapter.prepare_training(TrainConfig(lora=LoraConfig(rank=2, targets=targets)), seed=0)
        wrapped[targets] = {name.partition(".lora_")[0].removeprefix("transformer.") for name in parameters}
    linear = {name for name, layer in open_tiny(base)._part("transformer").named_modules()
              if isinstance(layer, torch.nn.Linear)}  # fmt: skip
    in_blocks = {name for name in linear if "blocks." in name and "norm" not in name}
    single_mlp = {name for name in in_blocks if name.startswith("single_") and "proj_" in name}
    assert wrapped["all"] == linear
    assert wrapped["attention+mlp"] == in_blocks
    assert wrapped["attention"] == {name for name in in_blocks if ".ff" not in name} - single_mlp


def test_full_fine_tuning_reaches_every_weight(base: Path):
    adapter = open_tiny(base)
    condition = adapter.encode_text(PROMPTS)
    parameters = adapter.prepare_training(TrainConfig(method="full", gradient_checkpointing=True), seed=0)
    assert len(parameters) == len(list(adapter._part("transformer").parameters()))
    backward(adapter, condition)
    assert without_gradient(parameters, ending="") == UNUSED[adapter.family]


def test_gradient_flows_through_the_text_encoders(base: Path):
    adapter = open_tiny(base)
    before = adapter.null_condition(2)
    config = TrainConfig(lora=LoraConfig(rank=2, text_encoders=True))
    parameters = adapter.prepare_training(config, seed=0)
    assert set(adapter.trained_modules()) == {"transformer", *adapter.trainable_text}
    backward(adapter, adapter.encode_text(PROMPTS))
    of_text = {name: parameter for name, parameter in parameters.items() if name.startswith("text_encoder")}
    assert len(of_text) == 2 * 4 * 2 * len(adapter.trainable_text)  # layers, projections, matrices
    assert not without_gradient(of_text, ending=".lora_B.default.weight")
    torch.optim.SGD(parameters.values(), lr=100.0).step()
    after = adapter.null_condition(2)
    assert after.pooled.requires_grad
    assert not torch.allclose(before.pooled, after.pooled)


@pytest.mark.parametrize(("method", "text_encoders"), [("lora", False), ("lora", True), ("full", False)])
def test_saved_weights_give_the_same_prediction_and_load_in_the_stock_pipeline(
    base: Path, tmp_path: Path, method, text_encoders
):
    trained = open_tiny(base)
    plain = predict(trained, trained.encode_text(PROMPTS)).detach()
    lora = LoraConfig(rank=3, alpha=6.0, targets="attention+mlp", text_encoders=text_encoders)
    generator = torch.Generator().manual_seed(1)
    for parameter in trained.prepare_training(TrainConfig(method=method, lora=lora), seed=0).values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    with torch.no_grad():
        expected = predict(trained, trained.encode_text(PROMPTS))
    assert not torch.allclose(plain, expected, atol=1e-3)
    trained.save_trained(tmp_path)

    fresh = open_tiny(base)
    fresh.null_condition(1)
    fresh.load_trained(tmp_path)
    fresh.prepare_sampling()
    with torch.no_grad():
        torch.testing.assert_close(fresh.null_condition(1).pooled, trained.null_condition(1).pooled)
        torch.testing.assert_close(predict(fresh, fresh.encode_text(PROMPTS)), expected, atol=1e-4, rtol=1e-4)

    stock = PIPELINES[fresh.family].from_pretrained(base)
    if method == "lora":
        stock.load_lora_weights(tmp_path)
    else:
        stock.transformer = type(stock.transformer).from_pretrained(tmp_path / "transformer")
    untouched = open_tiny(base)
    untouched._loaded |= {name: stock.components[name] for name in ("transformer", *untouched.trainable_text)}
    with torch.no_grad():
        torch.testing.assert_close(predict(untouched, untouched.encode_text(PROMPTS)), expected, atol=1e-4, rtol=1e-4)


# ── Text that is read once ─────────────────────────────────────────────────────────────────────


def test_the_unconditional_row_outlives_the_text_encoders_and_serves_training(base: Path):
    adapter = open_tiny(base)
    with torch.inference_mode():
        null = adapter.null_condition(3)
    adapter.release("text")
    kept = adapter.null_condition(2)
    assert not set(adapter.text_folders) & set(adapter._loaded)
    assert not kept.prompt_embeds.is_inference()
    torch.testing.assert_close(null.prompt_embeds[:2], kept.prompt_embeds)
    torch.testing.assert_close(adapter.encode_text([""]).pooled, kept.pooled[:1])


def test_half_precision_is_the_denoisers_alone(base: Path):
    whole, half = open_tiny(base), open_tiny(base, dtype=torch.bfloat16)
    with torch.no_grad():
        expected, prediction = (predict(adapter, adapter.encode_text(PROMPTS)) for adapter in (whole, half))
    assert half._part("transformer").dtype == torch.bfloat16
    assert half._part("text_encoder").dtype == prediction.dtype == torch.float32
    torch.testing.assert_close(prediction, expected, atol=0.1, rtol=0.1)
