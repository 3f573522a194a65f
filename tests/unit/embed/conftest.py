from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aelif.embed.clip import _clip_class
from aelif.models.miniature.tokenizer import write_tokenizer

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {"context_length": 12, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESSING = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


@pytest.fixture(scope="session")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random tiny ViT as timm saves one, with a classifier that self-similarity must do without."""
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("dino")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=5
        )
    save_for_hf(model, str(folder), safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def scorer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random open_clip model in the layout of `builtin:miniature-clip`."""
    folder = tmp_path_factory.mktemp("scorer")
    tokenizer = write_tokenizer(folder, max_tokens=MODEL["text_cfg"]["context_length"])
    config = {**MODEL, "text_cfg": {**MODEL["text_cfg"], "vocab_size": len(tokenizer)}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = _clip_class()(**config).state_dict()
        for name, tensor in weights.items():
            if name.endswith(("bn1.weight", "bn2.weight", "bn3.weight")):  # open_clip starts residual branches at 0
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESSING}))
    return folder
