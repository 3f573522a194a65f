"""A trained model as an MLflow model folder, which loads, serves and says what it takes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

from aelif.artifacts import digest_of_folder, link_file, new_folder, read_json, write_json
from aelif.config import SynthesisConfig, from_dict
from aelif.registry.serving import ServingFacts

TRAINED = "artifacts/trained"
"""Where the trained model lies in the MLflow model's folder, as training wrote it."""
FACTS = "artifacts/serving.json"
"""Where its `ServingFacts` lie."""

_REQUIREMENTS = (
    "aelif", "accelerate", "diffusers", "mlflow", "numpy", "pandas", "peft", "pillow", "safetensors", "torch",
    "transformers",
)  # fmt: skip
"""What generates the images, pinned to the versions that the model was measured with."""
_LEFT_OUT = "validation"
"""Images that training painted; the run keeps them."""


def write_servable(
    output: Path, *, trained: Path, base: Path, synthesis: Mapping[str, Any], example_prompt: str
) -> None:
    """Write the folder of an MLflow model (models from code) that holds a fine-tune or a LoRA adapter.

    The base model is not in it: it is named, with its digest, and fetched where the model is loaded.

    Args:
        output: the folder to write; it appears whole or not at all.
        trained: folder that training wrote; all of it goes in but the validation images.
        base: resolved base model, with `source.json`.
        synthesis: a `SynthesisConfig` in plain values; its steps and guidance become the usual ones.
        example_prompt: of the input example.

    Raises:
        ValueError: if `trained` or `base` does not say what serving needs to know.
    """
    facts = serving_facts(trained, base, from_dict(SynthesisConfig, dict(synthesis)))
    output.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(output) as folder, TemporaryDirectory(dir=output.parent, prefix=".servable-") as scratch:
        kept, facts_file = Path(scratch) / "trained", Path(scratch) / "serving.json"
        _link_trained(trained, kept)
        write_json(facts_file, asdict(facts))
        with _quiet():
            mlflow.pyfunc.save_model(
                folder,
                python_model=str(Path(__file__).with_name("serving_model.py")),
                artifacts={"trained": str(kept), "serving": str(facts_file)},
                signature=signature(facts),
                input_example=pd.DataFrame({"prompt": [example_prompt]}),
                pip_requirements=requirements(),
                metadata={"trial": facts.trial, "base": facts.base_uri, "base_digest": facts.base_digest},
            )
        _forget_places(folder)


def serving_facts(trained: Path, base: Path, synthesis: SynthesisConfig) -> ServingFacts:
    """Return what the model must know when it is loaded.

    Raises:
        ValueError: if `aelif.json` or `source.json` lacks it.
    """
    card_file, source_file = trained / "aelif.json", base / "source.json"
    for file in (card_file, source_file):
        if not file.is_file():
            raise ValueError(f"{file}: it is missing; give folders that `train` and `resolve_model` wrote")
    card, source = read_json(card_file), read_json(source_file)
    for file, values, names in (
        (card_file, card, ("image_size", "variant", "seed")),
        (source_file, source, ("uri", "digest", "family")),
    ):
        for name in names:
            if name not in values:
                raise ValueError(f"{file}: {name} is missing; train again with this version of aelif")
    return ServingFacts(
        base_uri=source["uri"],
        base_digest=source["digest"],
        family=source["family"],
        trial=f"{card['variant']}/seed={card['seed']}",
        image_size=int(card["image_size"]),
        max_sequence_length=int(card.get("max_sequence_length", 256)),
        steps=synthesis.steps,
        guidance_scale=synthesis.guidance_scale,
        batch_size=synthesis.batch_size,
    )


def signature(facts: ServingFacts) -> ModelSignature:
    """Return inputs, outputs and parameters with their usual values; see `aelif.registry.serving.Request`."""
    params = [
        ParamSpec("negative_prompt", "string", ""),
        ParamSpec("num_inference_steps", "long", facts.steps),
        ParamSpec("guidance_scale", "double", facts.guidance_scale),
        ParamSpec("height", "long", facts.image_size),
        ParamSpec("width", "long", facts.image_size),
        ParamSpec("seed", "long", 0),
        ParamSpec("num_images", "long", 1),
        ParamSpec("clean_id", "long", 0),
    ]
    return ModelSignature(
        inputs=Schema([ColSpec("string", "prompt"), ColSpec("string", "negative_prompt", required=False)]),
        outputs=Schema([ColSpec("string", "prompt"), ColSpec("long", "image_index"), ColSpec("string", "image")]),
        params=ParamSchema(params),
    )


def requirements() -> list[str]:
    """Return the packages pinned; without local labels (``2.9+cpu``), which no package index knows."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in _REQUIREMENTS]


def _link_trained(trained: Path, target: Path) -> None:
    """Put the trained model's files at `target`, as hard links where possible."""
    for path in sorted(path for path in trained.rglob("*") if path.is_file()):
        place = path.relative_to(trained)
        if place.parts[0] != _LEFT_OUT:
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            link_file(path, target / place)


def _forget_places(folder: Path) -> None:
    """Take out of `MLmodel` where its parts lay on this machine, and the random number that MLflow names it by."""
    model = Model.load(folder)
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.model_uuid = digest_of_folder(folder / "artifacts")[:32]
    model.save(folder / "MLmodel")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's hints on type annotations and its progress out of a step's log; errors are raised anyway."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
