"""One condition row per image: each image is what its own prompt alone gives."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import write_tiny_flux, write_tiny_sd, write_tiny_sd3, write_tiny_sdxl

from aelif.config import SynthesisConfig
from aelif.models.adapter import open_model
from aelif.models.condition import concatenate
from aelif.models.sampling import denoise, sample
from aelif.randomness import torch_generator

TEXTS = ["a photo of sks backpack", "a poto of sks bakpack", "a red cat"]


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("write", [write_tiny_sd, write_tiny_sdxl, write_tiny_sd3, write_tiny_flux])
def test_every_row_gets_its_own_prompt(tmp_path, write, guidance):
    adapter = open_model(write(tmp_path / "base"), max_sequence_length=40)
    adapter.prepare_sampling()
    config = SynthesisConfig(steps=3, guidance_scale=guidance)
    rows = [adapter.encode_text([text]) for text in TEXTS]
    noise = torch.randn(3, *adapter.latent_shape(64), generator=torch.Generator().manual_seed(0))
    together = denoise(adapter, concatenate(rows), noise, config=config, image_size=64)
    for row, condition in enumerate(rows):
        alone = denoise(adapter, condition, noise[row : row + 1], config=config, image_size=64)
        torch.testing.assert_close(together[row : row + 1], alone, atol=2e-4, rtol=1e-3)


def test_one_row_is_for_all_images(tmp_path):
    adapter = open_model(write_tiny_sd(tmp_path / "base"))
    condition, config = adapter.encode_text(TEXTS[:1]), SynthesisConfig(steps=2)

    def paint(rows):
        generators = [torch_generator(0, "x", index) for index in range(2)]
        return sample(adapter, rows, generators, config=config, image_size=64)

    assert torch.equal(paint(condition), paint(condition.repeat(2)))
    with pytest.raises(AssertionError):
        paint(condition.repeat(3))
