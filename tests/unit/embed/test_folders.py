from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from aelif.artifacts import (
    ImageRecord,
    digest_of_folder,
    prompt_schema,
    read_embeddings,
    read_image_records,
    write_image_records,
    write_table,
)
from aelif.config import ScoreConfig, to_dict
from aelif.embed.clip import load_scorer
from aelif.embed.component import embed_images, embed_photos
from aelif.embed.dino import load_dino
from aelif.embed.folders import check_complete, embed_folders
from aelif.progress import StepProgress
from aelif.randomness import numpy_generator

QUIET = StepProgress("embed", "test")
TEXTS = ["a photo of sks dog", "a phto of sks dog"]


def write_shard(folder: Path, items: list[tuple[int, int]]) -> Path:
    """Write an image folder with the given (prompt_id, image_index)."""
    folder.mkdir()
    records = []
    for prompt_id, image_index in items:
        pixels = numpy_generator(1, "test/shard", prompt_id, image_index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        record = ImageRecord(
            file_name=f"{prompt_id}-{image_index}.png",
            text=TEXTS[prompt_id],
            prompt_id=prompt_id,
            image_index=image_index,
        )
        Image.fromarray(pixels).save(folder / record.file_name)
        records.append(record)
    write_image_records(folder, records)
    return folder


def write_prompts(path: Path) -> SimpleNamespace:
    rows = [
        {"prompt_id": number, "clean_id": 0, "prompt": text, "clean_prompt": TEXTS[0], "prompt_set": "clean",
         "family": "", "severity": 0.0, "draw": 0, "character_error_rate": 0.0, "tokens_changed": None,
         "embedding_cosine": None, "embedding_shift": None, "reason": "", "edits": []}
        for number, text in enumerate(TEXTS)
    ]  # fmt: skip
    write_table(path, rows, prompt_schema())
    return SimpleNamespace(path=str(path))


def test_sharding_changes_nothing(scorer_folder: Path, tmp_path: Path):
    config = ScoreConfig(scorer=str(scorer_folder))
    whole = write_shard(tmp_path / "whole", [(0, 0), (0, 1), (1, 0), (1, 1)])
    shards = [write_shard(tmp_path / "a", [(1, 0), (0, 1)]), write_shard(tmp_path / "b", [(1, 1), (0, 0)])]
    one, two = embed_folders([whole], config, QUIET), embed_folders(shards, config, QUIET)
    np.testing.assert_array_equal(one.images, two.images)
    assert one.records == two.records
    assert sorted(one.texts) == sorted(TEXTS)


def test_an_image_in_two_shards_is_refused(scorer_folder: Path, tmp_path: Path):
    shards = [write_shard(tmp_path / "a", [(0, 0), (0, 1)]), write_shard(tmp_path / "b", [(0, 1)])]
    with pytest.raises(ValueError, match="is the same image"):
        embed_folders(shards, ScoreConfig(scorer=str(scorer_folder)), QUIET)


def test_a_missing_shard_is_noticed(tmp_path: Path):
    prompts = [{"prompt_id": 0}, {"prompt_id": 1}]
    first, second = write_shard(tmp_path / "a", [(0, 0)]), write_shard(tmp_path / "b", [(1, 0), (0, 1)])
    check_complete([first, second], prompts)
    with pytest.raises(ValueError, match="1 of 2 prompts have no image in 1 shards, prompt 1 the first"):
        check_complete([first], prompts)


def test_components_write_the_same_bytes_twice(scorer_folder: Path, tmp_path: Path):
    folder = SimpleNamespace(path=str(write_shard(tmp_path / "images", [(0, 0), (1, 0)])))
    score = to_dict(ScoreConfig(scorer=str(scorer_folder), cache=str(tmp_path / "cache")))
    first, second, photos, whole = (SimpleNamespace(path=str(tmp_path / name)) for name in ("a", "b", "photos", "all"))
    prompts = write_prompts(tmp_path / "prompts")
    for output in (first, second):
        embed_images.python_func([folder], prompts, score, "baseline/seed=0", output, whole, "1")
    embed_photos.python_func(folder, score, photos, "1")
    assert len({digest_of_folder(Path(output.path)) for output in (first, second, photos)}) == 1
    assert read_embeddings(first.path).images.shape == (2, 16)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2
    assert read_image_records(whole.path) == read_image_records(folder.path)


def test_only_the_scored_subject_is_the_reference(scorer_folder: Path, tmp_path: Path):
    folder = write_shard(tmp_path / "photos", [(0, 0), (0, 1), (1, 0)])
    records = read_image_records(folder)
    write_image_records(folder, [replace(record, subject=index % 2) for index, record in enumerate(records)])
    score = to_dict(ScoreConfig(scorer=str(scorer_folder)))
    output = SimpleNamespace(path=str(tmp_path / "reference"))
    embed_photos.python_func(SimpleNamespace(path=str(folder)), score, output, "1")
    reference = read_embeddings(output.path)
    assert [record.file_name for record in reference.records] == ["0-0.png", "1-0.png"]
    everyone = embed_folders([folder], ScoreConfig(scorer=str(scorer_folder)), QUIET)
    np.testing.assert_allclose(reference.images, everyone.images[[0, 2]], atol=1e-6)


def test_embeddings_say_which_model_made_them(scorer_folder: Path, dino_folder: Path, tmp_path: Path):
    folder = write_shard(tmp_path / "images", [(0, 0), (1, 0)])
    plain = embed_folders([folder], ScoreConfig(scorer=str(scorer_folder)), QUIET)
    assert (plain.scorer, plain.dino, plain.dino_scorer) == (load_scorer(str(scorer_folder)).digest, None, "")
    config = ScoreConfig(scorer=str(scorer_folder), dino=str(dino_folder), cache=str(tmp_path / "cache"))
    both, again = (embed_folders([folder], config, QUIET) for _ in range(2))
    dino = load_dino(str(dino_folder))
    np.testing.assert_allclose(both.dino, dino.embed_images([folder / "0-0.png", folder / "1-0.png"]), atol=1e-6)
    np.testing.assert_array_equal(both.dino, again.dino)
    assert (both.scorer, both.dino_scorer) == (plain.scorer, dino.digest)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 4, "two models, two images"


def test_a_folder_without_images_is_named(scorer_folder: Path, tmp_path: Path):
    folder = write_shard(tmp_path / "empty", [])
    with pytest.raises(ValueError, match="empty: no images to embed"):
        embed_folders([folder], ScoreConfig(scorer=str(scorer_folder)), QUIET)
