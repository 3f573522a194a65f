"""The attack's component, called as the executor calls it, on real folders with tiny models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.tiny import write_photos, write_tiny_sd3, write_tiny_sdxl

from aelif.artifacts import (
    Embeddings,
    prompt_schema,
    read_embeddings,
    read_image_records,
    read_table,
    worst_schema,
    write_embeddings,
    write_table,
)
from aelif.attack.component import search_worst_case
from aelif.attack.meter import Meter
from aelif.attack.search import ROUND
from aelif.config import (
    AttackConfig,
    DataConfig,
    LoraConfig,
    PromptConfig,
    ScoreConfig,
    SynthesisConfig,
    TrainConfig,
    Trial,
    to_dict,
)
from aelif.embed.clip import load_scorer
from aelif.perturb.edits import Edit, apply_edits
from aelif.progress import StepProgress
from aelif.score.wasserstein import wasserstein
from aelif.synthesize.sampler import open_generator
from aelif.train.dreambooth import fine_tune

CLEAN = ["a photo of sks backpack", "a picture of sks backpack", "an image of sks backpack"]
DATA = DataConfig(instance_images="photos", instance_prompt=CLEAN[0], class_prompt="a photo of a backpack")
TRIAL = "baseline/seed=1"


def prompt_row(index: int, text: str, prompt_set: str = "clean") -> dict:
    values = {
        "prompt_id": index, "clean_id": index, "prompt": text, "clean_prompt": text, "prompt_set": prompt_set,
        "family": prompt_set, "severity": 0.0, "draw": 0, "character_error_rate": 0.0, "tokens_changed": 0,
        "embedding_cosine": 1.0, "embedding_shift": 0.0, "reason": "", "edits": [],
    }  # fmt: skip
    return {name: values[name] for name in prompt_schema().names}


def floats(values):
    """Integers inside dicts reach a component as floats."""
    if isinstance(values, dict):
        return {key: floats(value) for key, value in values.items()}
    return float(values) if isinstance(values, int) and not isinstance(values, bool) else values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a base model, a model trained a little, photos' embeddings and a prompt table."""
    folder = tmp_path_factory.mktemp("attack")
    base = write_tiny_sdxl(folder / "base")
    photos = write_photos(folder / "photos", count=3, text=CLEAN[0])
    config = TrainConfig(steps=2, lora=LoraConfig(rank=2), prior_preservation=False)
    fine_tune(base=base, photos=photos, class_images=None, output=folder / "model", data=DATA, config=config,
              trial=Trial.parse(TRIAL), checkpoint_dir=None, progress=StepProgress("train", TRIAL))  # fmt: skip
    records = read_image_records(photos)
    images = load_scorer("builtin:miniature-clip").embed_images([photos / record.file_name for record in records])
    write_embeddings(folder / "reference", Embeddings(images=images, records=records, texts={}))
    rows = [*(prompt_row(index, text) for index, text in enumerate(CLEAN)), prompt_row(3, "a poto", "perturbed")]
    write_table(folder / "prompts.parquet", rows, prompt_schema())
    return folder


def attack(folder: Path, output: Path, *, asked: PromptConfig | None = None, **settings) -> tuple[list[dict], Path]:
    output.mkdir(parents=True, exist_ok=True)

    def artifact(path: Path) -> SimpleNamespace:
        return SimpleNamespace(path=str(path))

    config = AttackConfig(**{"budget": 10, "images": 2, "max_edits": 2, **settings})
    search_worst_case.python_func(
        base=artifact(folder / "base"), model=artifact(folder / "model"),
        prompts=artifact(folder / "prompts.parquet"), reference=artifact(folder / "reference"), trial=TRIAL,
        data=floats(to_dict(DATA)), settings=floats(to_dict(asked or PromptConfig())),
        synthesis=floats(to_dict(SynthesisConfig(steps=2, images_per_prompt=3, batch_size=5))),
        attack=floats(to_dict(config)), score=floats(to_dict(ScoreConfig())),
        worst=artifact(output / "worst.parquet"), images=artifact(output / "images"), code_version="test",
    )  # fmt: skip
    return read_table(output / "worst.parquet", worst_schema()), output / "images"


def meter(folder: Path, *, batch_size: int = 5) -> Meter:
    return Meter(
        adapter=open_generator(folder / "base", folder / "model"), scorer=load_scorer("builtin:miniature-clip"),
        reference=read_embeddings(folder / "reference").images, image_size=64,
        config=SynthesisConfig(steps=2, images_per_prompt=3, batch_size=batch_size),
    )  # fmt: skip


def test_the_worst_edit_is_recorded_measured_again_and_painted(folder: Path, tmp_path: Path):
    rows, images = attack(folder, tmp_path, asked=PromptConfig(protect=("identifier",)))
    (row,) = rows
    assert (row["variant"], row["seed"], row["clean_id"], row["clean_prompt"]) == ("baseline", 1, 0, CLEAN[0])
    assert apply_edits(CLEAN[0], [Edit(**edit) for edit in row["edits"]]) == row["prompt"]
    assert 1 <= len(row["edits"]) <= 2
    assert "sks" in row["prompt"], "the identifier is spared"
    assert 0 < row["character_error_rate"] <= 2 / len(CLEAN[0])
    assert row["tried"] == len(row["best_so_far"]) == 10
    assert row["best_so_far"] == sorted(row["best_so_far"])
    assert row["best_so_far"][-1] == row["found_distance"]

    records = read_image_records(images)
    assert [(record.prompt_id, record.image_index, record.text) for record in records] == [
        (0, index, row["prompt"]) for index in range(3)
    ]
    reference = read_embeddings(folder / "reference").images
    embedded = load_scorer("builtin:miniature-clip").embed_images([images / record.file_name for record in records])
    assert row["distance"] == pytest.approx(wasserstein(embedded, reference), abs=1e-5)
    (clean,) = meter(folder).distances(meter(folder).paint([CLEAN[0]], purpose="attack/fresh", clean_id=0, count=3))
    assert row["clean_distance"] == pytest.approx(clean, abs=1e-3)


def test_the_same_input_gives_the_same_bytes(folder: Path, tmp_path: Path):
    first, again = (attack(folder, tmp_path / name)[1].parent for name in ("first", "again"))
    for path in sorted(path for path in first.rglob("*") if path.is_file()):
        assert path.read_bytes() == (again / path.relative_to(first)).read_bytes()


def test_the_first_clean_prompts_are_attacked(folder: Path, tmp_path: Path):
    rows, images = attack(folder, tmp_path, budget=2, images=1, prompts=2)
    assert [(row["clean_id"], row["clean_prompt"]) for row in rows] == list(enumerate(CLEAN[:2]))
    assert [record.prompt_id for record in read_image_records(images)] == [0, 0, 0, 1, 1, 1]


def test_mixed_batches_paint_what_single_prompts_get(folder: Path):
    texts = ["a photo of sks backpack", "a poto of sks backpack", "a dog"]
    together = meter(folder).paint(texts, purpose="x", clean_id=4, count=3)
    for text, images in zip(texts, together, strict=True):
        (alone,) = meter(folder, batch_size=1).paint([text], purpose="x", clean_id=4, count=3)
        for one, other in zip(images, alone, strict=True):
            assert np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max() <= 1
    assert np.abs(np.asarray(together[0][0], dtype=int) - np.asarray(together[2][0], dtype=int)).max() > 0
    assert np.abs(np.asarray(together[0][0], dtype=int) - np.asarray(together[0][1], dtype=int)).max() > 1
    assert isinstance(together[0][0], Image.Image)


def test_a_prompt_that_leaves_nothing_to_attack_is_named(folder: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.delenv("AELIF_EVENTS", raising=False)
    write_table(tmp_path / "prompts.parquet", [prompt_row(0, "4711 !")], prompt_schema())
    for name in ("base", "model", "reference"):
        (tmp_path / name).symlink_to(folder / name)
    rows, images = attack(tmp_path, tmp_path / "out")
    assert rows == []
    assert read_image_records(images) == []
    assert "'4711 !'" in capsys.readouterr().out


def test_no_budget_writes_empty_artifacts_without_heavy_libraries(tmp_path: Path):
    arguments = {"data": to_dict(DATA), "settings": to_dict(PromptConfig()), "synthesis": {}, "score": {},
                 "attack": {"budget": 0.0}, "trial": TRIAL, "code_version": "test"}  # fmt: skip
    code = f"""
import json, sys
from types import SimpleNamespace
from aelif.attack.component import search_worst_case
paths = {{name: SimpleNamespace(path=name) for name in ("base", "model", "prompts", "reference", "worst", "images")}}
search_worst_case.python_func(**paths, **json.loads({json.dumps(json.dumps(arguments))}))
print(sorted({{"torch", "diffusers", "transformers", "ot", "open_clip"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert read_table(tmp_path / "worst", worst_schema()) == []
    assert read_image_records(tmp_path / "images") == []


def test_rounds_fill_batches_of_several_prompts():
    assert ROUND * AttackConfig().images <= SynthesisConfig().batch_size


def test_flow_models_are_attacked_alike(folder: Path, tmp_path: Path):
    base, photos = write_tiny_sd3(tmp_path / "base"), folder / "photos"
    config = TrainConfig(steps=1, lora=LoraConfig(rank=2), prior_preservation=False)
    fine_tune(base=base, photos=photos, class_images=None, output=tmp_path / "model", data=DATA, config=config,
              trial=Trial.parse(TRIAL), checkpoint_dir=None, progress=StepProgress("train", TRIAL))  # fmt: skip
    for name in ("prompts.parquet", "reference"):
        (tmp_path / name).symlink_to(folder / name)
    (row,), _ = attack(tmp_path, tmp_path / "out", budget=3, images=1)
    assert row["tried"] == 3
