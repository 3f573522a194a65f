from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from aelif.embed.dino import DinoScorer, load_dino
from aelif.randomness import numpy_generator


def picture(index: int, width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = numpy_generator(0, "test/picture", index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture(scope="module")
def dino(dino_folder: Path) -> DinoScorer:
    return load_dino(str(dino_folder))


def test_agrees_with_the_weights_put_into_a_model_by_hand(dino: DinoScorer, dino_folder: Path):
    """Features are the class token after the last norm."""
    model = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=5
    ).eval()
    model.load_state_dict(load_file(dino_folder / "model.safetensors"))
    pictures = [picture(0, 32, 32), picture(1, 32, 32)]
    pixels = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) / 127.5 - 1 for p in pictures])
    with torch.inference_mode():
        features = model.forward_features(pixels)[:, 0]
    expected = torch.nn.functional.normalize(features, dim=-1).numpy()
    uncropped = replace(dino, to_pixels=lambda p: torch.from_numpy(np.array(p)).permute(2, 0, 1) / 127.5 - 1)
    np.testing.assert_allclose(uncropped.embed_images(pictures), expected, atol=1e-5)


def test_preprocessing_is_timm_s(dino: DinoScorer):
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(dino.model), is_training=False)
    pictures = [picture(0, 64, 40), picture(1, 31, 90)]
    with torch.inference_mode():
        features = dino.model(torch.stack([transform(image) for image in pictures]))
    expected = torch.nn.functional.normalize(features, dim=-1).numpy()
    np.testing.assert_allclose(dino.embed_images(pictures), expected, atol=1e-6)


def test_embeddings_are_unit_float32_whatever_mode_and_batch(dino: DinoScorer, tmp_path: Path):
    pictures = [picture(index, 48, 32, mode) for index, mode in enumerate(("RGB", "L", "RGBA", "P", "CMYK"))]
    embeddings = dino.embed_images(pictures, cache=tmp_path)
    assert (embeddings.shape, embeddings.dtype) == ((5, 24), np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(dino.embed_images(pictures, batch_size=2), embeddings, atol=1e-6)
    np.testing.assert_array_equal(dino.embed_images(pictures, cache=tmp_path), embeddings)
    with pytest.raises(ValueError, match="nothing to embed"):
        dino.embed_images([])


def test_digests_tell_weights_apart(dino: DinoScorer, dino_folder: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(dino_folder, other)
    weights = load_file(other / "model.safetensors")
    save_file({**weights, "norm.bias": weights["norm.bias"] + 1}, other / "model.safetensors")
    assert load_dino(str(other)).digest != dino.digest == load_dino(str(dino_folder)).digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_small_patch16_224.dno", r"did you mean 'vit_small_patch16_224\.dino'"),
        ("photos/dino", r"give one such as vit_small_patch16_224\.dino"),
        ("vit_small_patch16_224", "timm has no such weights"),
    ],
)
def test_unknown_models_are_named(name: str, message: str):
    with pytest.raises(ValueError, match=f"dino = '{name}': there is no such folder.*{message}"):
        load_dino(name)


def test_broken_folders_are_named(dino_folder: Path, tmp_path: Path):
    folder = tmp_path / "broken"
    shutil.copytree(dino_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    for change in ({"architecture": "vit_tinier"}, {"model_args": {**config["model_args"], "embed_dim": 32}}):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match="its files do not make a timm model"):
            load_dino(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        load_dino(str(folder))


def test_embedding_without_it_imports_no_timm():
    program = "import sys, aelif.embed.folders, aelif.embed.dino; print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
