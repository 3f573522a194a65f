"""Tiny trained models, and models in a registry, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from aelif.artifacts import write_json
from aelif.config import LoraConfig, SynthesisConfig, TrainConfig, to_dict
from aelif.models.adapter import open_model
from aelif.models.resolve import resolve_model
from aelif.registry.lineage import weights_digest
from aelif.registry.servable import write_servable

SYNTHESIS = SynthesisConfig(steps=2, images_per_prompt=2, batch_size=2, seed=3)


def write_base(raw: Path, folder: Path) -> Path:
    """Resolve a tiny model as the pipeline does."""
    resolve_model(str(raw), folder)
    return folder


def write_trained(
    base: Path, folder: Path, *, method: Literal["lora", "full"] = "lora", text: bool = False, seed: int = 0
) -> Path:
    """Write what training leaves behind, with weights that a little chance has moved instead."""
    adapter = open_model(base)
    config = TrainConfig(method=method, lora=LoraConfig(rank=2, text_encoders=text))
    parameters = adapter.prepare_training(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    adapter.save_trained(folder)
    (folder / "validation" / "step-000001").mkdir(parents=True)
    (folder / "validation" / "step-000001" / "dog.png").write_bytes(b"a picture")
    card = {"variant": "aelif_mask:0.3", "seed": seed, "image_size": 64, "max_sequence_length": 16}
    write_json(folder / "aelif.json", {**card, "weights_sha256": weights_digest(folder)})
    return folder


def write_model(trained: Path, base: Path, folder: Path) -> Path:
    """Write the folder that is registered."""
    write_servable(
        folder, trained=trained, base=base, synthesis=to_dict(SYNTHESIS), example_prompt="a photo of sks dog"
    )
    return folder


def register(client: MlflowClient, name: str, folder: Path, **tags: str) -> ModelVersion:
    """Register a folder where it lies, and make it champion."""
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(
        name, folder.as_uri(), tags={k.replace("__", "."): v for k, v in tags.items()}
    )
    client.set_registered_model_alias(name, "champion", str(version.version))
    return client.get_model_version(name, str(version.version))
