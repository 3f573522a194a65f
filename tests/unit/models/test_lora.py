"""Adapters by peft against closed forms: what they wrap, how they begin, what is stored, and merging."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.tiny import write_tiny_flux, write_tiny_sd, write_tiny_sd3, write_tiny_sdxl
from torch import nn

from aelif.config import LoraConfig, TrainConfig
from aelif.models.adapter import open_model
from aelif.models.latent_diffusion import LatentDiffusion
from aelif.models.lora import LORA_FILE, lora_components, merge_lora

WRITERS: dict[str, Callable[..., Path]] = {
    "sd": write_tiny_sd, "sdxl": write_tiny_sdxl, "sd3": write_tiny_sd3, "flux": write_tiny_flux,
}  # fmt: skip


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write(tmp_path_factory.mktemp(family) / "base") for family, write in WRITERS.items()}


@pytest.fixture(scope="module")
def base(bases: dict[str, Path]) -> Path:
    return bases["sd"]


def open_tiny(base: Path, **options) -> LatentDiffusion:
    return open_model(base, max_sequence_length=12, **options)


def train(adapter: LatentDiffusion, *, seed: int = 0, method: str = "lora", **lora) -> dict[str, nn.Parameter]:
    """Add adapters and move every trained weight, as training would."""
    weights = adapter.prepare_training(TrainConfig(method=method, lora=LoraConfig(**lora)), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in weights.values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return weights


def adapted_layers(weights: dict[str, nn.Parameter]) -> set[str]:
    return {name.partition(".")[2].partition(".lora_")[0] for name in weights}


def linear_layers(module: nn.Module) -> dict[str, str]:
    """Return every linear layer with the class names of the modules around it, outermost first."""
    modules = dict(module.named_modules())
    chains = {}
    for name, layer in modules.items():
        if isinstance(layer, nn.Linear):
            steps = name.split(".")
            chains[name] = ">".join(type(modules[".".join(steps[:n])]).__name__ for n in range(1, len(steps)))
    return chains


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize("preset", ["attention", "attention+mlp", "all"])
def test_presets_wrap_the_layers_that_they_name(bases: dict[str, Path], family: str, preset: str):
    adapter = open_tiny(bases[family])
    layers = linear_layers(adapter._part(adapter.denoiser))
    in_attention = {name for name, around in layers.items() if "Attention" in around}
    in_mlp = {name for name, around in layers.items() if "FeedForward" in around}
    if family == "flux":
        in_mlp |= {name for name in layers if name.startswith("single_") and name.endswith(("proj_mlp", "proj_out"))}
    assert in_attention
    assert in_mlp
    expected = {"attention": in_attention, "attention+mlp": in_attention | in_mlp, "all": set(layers)}[preset]
    assert adapted_layers(adapter.prepare_training(TrainConfig(lora=LoraConfig(targets=preset)), seed=0)) == expected


def test_first_weights_are_keyed_by_seed_and_part_and_leave_the_global_generator_alone(base: Path):
    def first(seed: int) -> dict[str, torch.Tensor]:
        config = TrainConfig(lora=LoraConfig(rank=4, text_encoders=True))
        return open_tiny(base).prepare_training(config, seed=seed)

    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    weights = first(5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(12)
    again, other = first(5), first(6)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    downs = [name for name in weights if ".lora_A." in name]
    assert not any(torch.equal(weights[name], other[name]) for name in downs)
    assert not any(weights[name].any() for name in weights if ".lora_B." in name)
    text = next(weights[name] for name in downs if name.startswith("text_encoder.") and weights[name].shape == (4, 32))
    unet = next(weights[name] for name in downs if name.startswith("unet.") and weights[name].shape == (4, 32))
    assert not torch.equal(text, unet)


@pytest.mark.parametrize("dora", [False, True])
def test_training_begins_as_the_base_model_and_touches_no_frozen_weight(base: Path, dora: bool):
    adapter, condition = open_tiny(base), open_tiny(base).encode_text(["a photo of sks backpack"])
    noisy, times = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    before = adapter.predict(noisy, times, condition)
    frozen = {name: tensor.clone() for name, tensor in adapter._part("unet").state_dict().items()}
    weights = adapter.prepare_training(TrainConfig(lora=LoraConfig(dora=dora)), seed=0)
    torch.testing.assert_close(adapter.predict(noisy, times, condition), before, atol=1e-6, rtol=1e-5)
    optimizer = torch.optim.AdamW(weights.values(), lr=0.1)
    adapter.predict(noisy, times, condition).square().mean().backward()
    optimizer.step()
    assert not torch.allclose(adapter.predict(noisy, times, condition), before, atol=1e-3)
    after = {name.replace(".base_layer.", "."): t for name, t in adapter._part("unet").state_dict().items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())


def test_adapters_are_float32_on_half_precision_weights(base: Path):
    adapter = open_tiny(base, dtype=torch.bfloat16)
    weights = adapter.prepare_training(TrainConfig(lora=LoraConfig(dora=True)), seed=0)
    assert {parameter.dtype for parameter in weights.values()} == {torch.float32}
    frozen = {p.dtype for p in adapter._part("unet").parameters() if not p.requires_grad}
    assert frozen == {torch.bfloat16}
    full = open_tiny(base, dtype=torch.bfloat16)
    assert {p.dtype for p in full.prepare_training(TrainConfig(method="full"), seed=0).values()} == {torch.float32}


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_is_the_closed_form(base: Path, tmp_path: Path, dora: bool, dtype: torch.dtype):
    trained = open_tiny(base)
    weights = train(trained, rank=4, alpha=6.0, dora=dora)
    trained.save_trained(tmp_path)
    fresh = open_tiny(base, dtype=dtype)
    plain = {name: tensor.float() for name, tensor in fresh._part("unet").state_dict().items()}
    state = torch.random.get_rng_state()
    fresh.load_trained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    merged = fresh._part("unet")
    assert merged.state_dict().keys() == plain.keys()  # nothing stays wrapped
    assert {parameter.dtype for parameter in merged.parameters()} == {dtype}
    layers = adapted_layers(weights)
    for name, tensor in merged.state_dict().items():
        layer, expected = name.removesuffix(".weight"), plain[name]
        if layer in layers and name.endswith(".weight"):
            a, b = (weights[f"unet.{layer}.lora_{side}.default.weight"].detach() for side in "AB")
            expected = expected + 6.0 / 4 * b @ a
            if dora:  # arXiv 2402.09353: the direction has unit length per output, times the trained magnitude
                magnitude = weights[f"unet.{layer}.lora_magnitude_vector.default.weight"].detach()
                expected = magnitude[:, None] * expected / expected.norm(dim=1, keepdim=True)
        tolerance = 1e-6 if dtype == torch.float32 else 2**-8  # one rounding to 8 bits
        torch.testing.assert_close(tensor.float(), expected, atol=1e-6, rtol=tolerance)


def test_the_file_has_the_scale_in_it_and_no_trace_of_the_machine(base: Path, tmp_path: Path):
    trained = open_tiny(base)
    weights = train(trained, rank=4, alpha=6.0, dropout=0.1, text_encoders=True)
    file = trained.save_trained(tmp_path / "new" / "model")
    assert file == tmp_path / "new" / "model" / LORA_FILE
    assert lora_components(file) == {"unet", "text_encoder"}
    stored = load_file(file)
    name = "encoder.layers.0.self_attn.q_proj"
    up = weights[f"text_encoder.{name}.lora_B.default.weight"]
    torch.testing.assert_close(stored[f"text_encoder.text_model.{name}.lora_B.weight"], up.detach() * 1.5)
    assert len(stored) == len(weights)
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}  # safetensors writes several entries in random order
    bytes_before = file.read_bytes()
    assert trained.save_trained(tmp_path / "again").read_bytes() == bytes_before


def test_what_the_file_lacks_is_left_alone(base: Path, tmp_path: Path):
    trained = open_tiny(base)
    train(trained)
    file = trained.save_trained(tmp_path)
    encoder = open_tiny(base)._part("text_encoder")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    merge_lora(encoder, file, component="text_encoder")
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_full_training_with_adapted_text_encoders_is_read_back(base: Path, tmp_path: Path):
    trained = open_tiny(base)
    weights = train(trained, method="full", text_encoders=True)
    file = trained.save_trained(tmp_path)
    assert file == tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    assert lora_components(tmp_path / LORA_FILE) == {"text_encoder"}
    assert str(tmp_path) not in (tmp_path / "unet" / "config.json").read_text()
    assert str(base) not in (tmp_path / "unet" / "config.json").read_text()
    fresh = open_tiny(base)
    fresh.load_trained(tmp_path)
    for name, tensor in fresh._part("unet").state_dict().items():
        assert torch.equal(tensor, weights[f"unet.{name}"])
    live = trained.encode_text(["a photo"]).prompt_embeds
    torch.testing.assert_close(fresh.encode_text(["a photo"]).prompt_embeds, live, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(open_tiny(base).encode_text(["a photo"]).prompt_embeds, live, atol=1e-3)


def test_adapters_of_another_base_are_refused(base: Path, tmp_path: Path):
    file = tmp_path / LORA_FILE
    trained = open_tiny(base)
    train(trained)
    trained.save_trained(tmp_path)
    stored = load_file(file)
    key = next(name for name in stored if ".lora_A." in name)
    for changed, message in (
        ({**stored, key: torch.ones(16, 7)}, r"layer '\S+' is \d+x7, but the base model's is \d+x\d+; was it trained"),
        ({f"unet.nowhere.to_q.lora_{side}.weight": torch.ones(2, 2) for side in "AB"}, r"no layer 'nowhere\.to_q'"),
        ({"text_encoder.x.lora_A.weight": torch.ones(1, 2)}, "no LoRA weights for 'unet', only for text_encoder"),
        ({key: torch.full_like(stored[key], torch.nan), key.replace("_A", "_B"): stored[key.replace("_A", "_B")]},
         "NaN"),
    ):  # fmt: skip
        save_file(changed, file)
        with pytest.raises(ValueError, match=message):
            open_tiny(base).load_trained(tmp_path)
    with pytest.raises(ValueError, match=r"neither pytorch_lora_weights\.safetensors nor unet/"):
        open_tiny(base).load_trained(base.parent)
