from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from aelif.embed.clip import Scorer, load_scorer
from aelif.randomness import numpy_generator

PROMPTS = ["a photo of sks dog", "a phtoo of SKS Bäckpack!", "", "word " * 40]


def picture(index: int, width: int, height: int) -> Image.Image:
    pixels = numpy_generator(0, "test/picture", index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def scorer(scorer_folder: Path) -> Scorer:
    return load_scorer(str(scorer_folder))


def test_agrees_with_open_clip_and_transformers(scorer: Scorer, scorer_folder: Path):
    import open_clip
    from transformers import AutoTokenizer

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{scorer_folder}")
    model.eval()
    pictures = [picture(0, 32, 32), picture(1, 64, 40), picture(2, 31, 90), picture(3, 20, 20)]
    with torch.inference_mode():
        images = model.encode_image(torch.stack([transform(image) for image in pictures]), normalize=True)
        batch = AutoTokenizer.from_pretrained(scorer_folder)(
            PROMPTS, padding="max_length", truncation=True, return_tensors="pt"
        )
        texts = model.encode_text(batch["input_ids"] * batch["attention_mask"], normalize=True)
    np.testing.assert_allclose(scorer.embed_images(pictures), images.numpy(), atol=1e-5)
    np.testing.assert_allclose(scorer.embed_texts(PROMPTS), texts.numpy(), atol=1e-5)


def test_embeddings_are_unit_float32_whatever_the_mode(scorer: Scorer):
    pictures = [picture(0, 48, 32).convert(mode) for mode in ("RGB", "L", "RGBA", "P", "CMYK")]
    embeddings = scorer.embed_images(pictures)
    assert embeddings.shape == (5, 16)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_batches_and_files_change_nothing(scorer: Scorer, tmp_path: Path):
    pictures = [picture(index, 32, 32) for index in range(7)]
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for image, path in zip(pictures, paths, strict=True):
        image.save(path)
    heard: list[tuple[int, int]] = []
    batched = scorer.embed_images(paths, batch_size=3, report=lambda done, total: heard.append((done, total)))
    np.testing.assert_allclose(batched, scorer.embed_images(pictures), atol=1e-6)
    assert heard == [(3, 7), (6, 7), (7, 7)]
    np.testing.assert_allclose(scorer.embed_texts(PROMPTS, batch_size=1), scorer.embed_texts(PROMPTS), atol=1e-6)


def test_cache_computes_only_what_it_lacks(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = scorer.embed_images([picture(0, 32, 32), picture(1, 32, 32)], cache=tmp_path)
    encode, seen = scorer.model.encode_image, []
    monkeypatch.setattr(scorer.model, "encode_image", lambda pixels: (seen.append(len(pixels)), encode(pixels))[1])
    again = scorer.embed_images([picture(1, 32, 32), picture(2, 32, 32), picture(0, 32, 32)], cache=tmp_path)
    assert seen == [1]
    np.testing.assert_array_equal(again[[2, 0]], first)
    assert len(list(tmp_path.rglob("*.npy"))) == 3


def test_cache_tells_models_apart(scorer_folder: Path, scorer: Scorer, tmp_path: Path):
    other_folder = tmp_path / "other"
    shutil.copytree(scorer_folder, other_folder)
    weights = load_file(other_folder / "open_clip_model.safetensors")
    save_file(
        {**weights, "visual.conv1.weight": -weights["visual.conv1.weight"]},
        other_folder / "open_clip_model.safetensors",
    )
    mine = scorer.embed_images([picture(0, 32, 32)], cache=tmp_path / "cache")
    other = load_scorer(str(other_folder)).embed_images([picture(0, 32, 32)], cache=tmp_path / "cache")
    assert not np.allclose(mine, other)
    assert load_scorer(str(other_folder)).digest != scorer.digest == load_scorer(str(scorer_folder)).digest


def test_half_precision_weights_load(scorer_folder: Path, scorer: Scorer, tmp_path: Path):
    folder = tmp_path / "half"
    shutil.copytree(scorer_folder, folder)
    weights = load_file(folder / "open_clip_model.safetensors")
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    save_file(halves, folder / "open_clip_model.safetensors")
    cosines = load_scorer(str(folder)).embed_images([picture(0, 32, 32)]) @ scorer.embed_images([picture(0, 32, 32)]).T
    assert cosines[0, 0] > 0.999


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("builtin:miniature-clp", "did you mean 'builtin:miniature-clip'"),
        ("ViT-L-41/openai", "no such folder or open_clip model; did you mean 'ViT-L-1"),
        ("photos/scorer", "give one such as builtin:miniature-clip or ViT-L-14/openai"),
        ("ViT-L-14/opnai", "ViT-L-14 has no weights 'opnai'; did you mean 'openai'"),
        ("ViT-L-14", "has no weights ''; known: "),
    ],
)
def test_unknown_scorers_are_named(name: str, message: str):
    with pytest.raises(ValueError, match="scorer = ") as raised:
        load_scorer(name)
    assert message in str(raised.value)


def test_broken_folders_are_named(scorer_folder: Path, tmp_path: Path):
    folder = tmp_path / "broken"
    shutil.copytree(scorer_folder, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    for change in ({"embed_dim": 24}, {"custom_text": True}, {"vision_cfg": {"timm_model_name": "resnet18"}}):
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**config["model_cfg"], **change}}))
        with pytest.raises(ValueError, match=r"do not make an open_clip\.CLIP"):
            load_scorer(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"tokenizer\.json is missing"):
        load_scorer(str(folder))


def test_nothing_to_embed(scorer: Scorer):
    with pytest.raises(ValueError, match="nothing to embed"):
        scorer.embed_images([])


def test_a_folder_loads_without_heavy_imports(scorer_folder: Path):
    program = (
        "import sys; from aelif.embed.clip import load_scorer; load_scorer(sys.argv[1])\n"
        "print([name for name in ('transformers', 'timm', 'torchvision', 'open_clip', 'kfp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, scorer_folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
