"""The container components, called as the executor calls them, on real folders."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from tests.tiny import write_photos, write_tiny_sdxl

from aelif.artifacts import prompt_schema, read_image_records, read_json, write_table
from aelif.config import DataConfig, LoraConfig, PromptConfig, StressConfig, SynthesisConfig, TrainConfig, to_dict
from aelif.synthesize.component import synthesize_class_images, synthesize_images
from aelif.train.component import train_dreambooth


def as_json_numbers(values: dict) -> dict:
    """Integers inside dicts reach a component as floats."""
    return {
        key: as_json_numbers(v) if isinstance(v, dict)
        else float(v) if isinstance(v, int) and not isinstance(v, bool) else v
        for key, v in values.items()
    }  # fmt: skip


def prompt_row(
    index: int, text: str, *, prompt_set: str = "clean", family: str = "clean", severity: float = 0.0
) -> dict:
    return {
        "prompt_id": index, "clean_id": 0, "prompt": text, "clean_prompt": "a photo of sks backpack",
        "prompt_set": prompt_set, "family": family, "severity": severity, "draw": 0, "character_error_rate": 0.0,
        "tokens_changed": None, "embedding_cosine": None, "embedding_shift": None, "reason": "", "edits": [],
    }  # fmt: skip


def test_class_images_train_and_synthesize(tmp_path: Path):
    def artifact(name: str) -> SimpleNamespace:
        return SimpleNamespace(path=str(tmp_path / name))

    write_tiny_sdxl(tmp_path / "base")
    write_photos(tmp_path / "photos", count=2, text="a photo of sks backpack")
    rows = [
        prompt_row(0, "a photo of sks backpack"),
        prompt_row(1, "a poto of sks backpack", prompt_set="perturbed", family="paper"),
        prompt_row(2, "a photo of sks backpack", prompt_set="stress", family="aelif_mask", severity=0.5),
        prompt_row(3, "a photo of sks backpack", prompt_set="skipped", family="tense"),
    ]
    write_table(tmp_path / "prompts.parquet", rows, prompt_schema())
    data = DataConfig(
        instance_images="photos", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
    )
    train = as_json_numbers(to_dict(TrainConfig(steps=3, lora=LoraConfig(rank=2), class_images=2)))
    synthesis = as_json_numbers(to_dict(SynthesisConfig(steps=2, images_per_prompt=2, batch_size=3)))
    settings = as_json_numbers(to_dict(PromptConfig(stress=StressConfig(magnitudes=(0.5,)))))
    trial = "aelif_mask:0.3/seed=1"

    synthesize_class_images.python_func(
        base=artifact("base"), data=to_dict(data), train=train, synthesis=synthesis, seed=0,
        checkpoint_root="", images=artifact("class"), code_version="test",
    )  # fmt: skip
    train_dreambooth.python_func(
        photos=artifact("photos"), class_images=artifact("class"), base=artifact("base"), trial=trial,
        data=to_dict(data), train=train, checkpoint_root=str(tmp_path / "checkpoints"), distributed={},
        model=artifact("model"), code_version="test",
    )  # fmt: skip
    for shard in (0, 1):
        synthesize_images.python_func(
            base=artifact("base"), model=artifact("model"), prompts=artifact("prompts.parquet"), trial=trial,
            settings=settings, synthesis=synthesis, shard=shard, num_shards=2,
            images=artifact(f"images-{shard}"), code_version="test",
        )  # fmt: skip

    assert len(read_image_records(tmp_path / "class")) == 2
    assert read_json(tmp_path / "model" / "aelif.json")["variant"] == "aelif_mask:0.3"
    shards = [read_image_records(tmp_path / f"images-{shard}") for shard in (0, 1)]
    assert [[(record.prompt_id, record.image_index) for record in records] for records in shards] == [
        [(0, 0), (0, 1), (1, 0)],
        [(1, 1), (2, 0), (2, 1)],
    ]
    assert shards[1][0].text == rows[1]["prompt"]
