"""Readers and writers: what was written is read, wrong content is refused, failures leave nothing."""

import errno
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from aelif.artifacts import (
    Embeddings,
    ImageRecord,
    digest_of,
    digest_of_folder,
    new_file,
    new_folder,
    prompt_schema,
    read_embeddings,
    read_image_records,
    read_json,
    read_prompts,
    read_table,
    score_schema,
    sha256_of,
    write_embeddings,
    write_image_records,
    write_json,
    write_table,
)

PROMPT = {
    "prompt_id": 1,
    "clean_id": 0,
    "prompt": "a poto",
    "clean_prompt": "a photo",
    "prompt_set": "perturbed",
    "family": "delete",
    "severity": 0.1,
    "draw": 0,
    "character_error_rate": 1 / 7,
    "tokens_changed": 2,
    "embedding_cosine": 0.8,
    "embedding_shift": None,
    "reason": "",
    "edits": [{"kind": "delete", "start": 3, "before": "h", "after": ""}],
}
SCORE = {
    "variant": "aelif_mask:0.3",
    "seed": 1,
    "prompt_id": 0,
    "clean_id": 0,
    "prompt_set": "clean",
    "family": "clean",
    "severity": 0.0,
    "prompt": "ein Foto „é“",
    "metric": "w1",
    "value": 0.5,
    "num_images": 8,
}


def unit_rows(count: int, width: int = 5) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embeddings(count: int = 3) -> Embeddings:
    records = [ImageRecord(file_name=f"{i}.png", text="a photo", prompt_id=1, image_index=i) for i in range(count)]
    texts = dict(zip(["b photo", "a photo"], unit_rows(2), strict=True))
    return Embeddings(images=unit_rows(count), records=records, texts=texts)


def test_digests_are_sha256_and_independent_of_key_order(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of({"b": [1], "a": 2.5}) == hashlib.sha256(b'{"a": 2.5, "b": [1]}').hexdigest()
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 2, "b": 1})


def test_a_folder_s_digest_covers_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    seen = {digest_of_folder(tmp_path)}
    (tmp_path / "sub" / "a").write_text("2")
    seen.add(digest_of_folder(tmp_path))
    (tmp_path / "sub" / "a").rename(tmp_path / "a")
    seen.add(digest_of_folder(tmp_path))
    assert len(seen) == 3


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_failed_writer_leaves_the_old_content_and_nothing_else(kind, tmp_path):
    write_json(tmp_path / "deep" / "file.json", 1)
    with new_folder(tmp_path / "folder") as folder:
        (folder / "old").write_text("old")
    before = digest_of_folder(tmp_path)

    def fail_in_file() -> None:
        with new_file(tmp_path / "deep" / "file.json") as path:
            path.write_text("half")
            raise kind

    def fail_in_folder() -> None:
        with new_folder(tmp_path / "folder") as folder:
            (folder / "half").write_text("half")
            raise kind

    for fail in (fail_in_file, fail_in_folder):
        with pytest.raises(kind):
            fail()
    assert digest_of_folder(tmp_path) == before


def test_a_new_folder_replaces_the_old_one_and_a_crashed_one(tmp_path):
    for leftover in ("folder", "folder.partial"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "stale").write_text("stale")
    with new_folder(tmp_path / "folder") as folder:
        (folder / "fresh").write_text("fresh")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "fresh"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("writer", [new_file, new_folder])
def test_a_full_disk_is_named_with_the_remedy(writer, code, tmp_path):
    with pytest.raises(OSError, match="free some space and run again") as error, writer(tmp_path / "out"):
        raise OSError(code, "No space left on device")
    assert (error.value.errno, error.value.filename) == (code, str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_of_nested_writers_the_innermost_names_the_path(tmp_path):
    def fill() -> None:
        with new_folder(tmp_path / "out") as folder, new_file(folder / "inner"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="free some space") as error:
        fill()
    assert error.value.filename == str(tmp_path / "out.partial" / "inner")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("writer", [new_file, new_folder])
def test_a_place_that_is_not_writable_is_named_with_the_remedy(writer, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(OSError, match="name another output folder"),
        writer(tmp_path / "file" / "sub" / "out") as path,
    ):
        path.touch()

    def mkdir(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(PermissionError, match="name another output folder"), writer(tmp_path / "locked" / "out"):
        pass


def test_an_unreadable_input_is_not_taken_for_an_unwritable_output(tmp_path):
    with pytest.raises(PermissionError, match="Permission denied"), new_folder(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "Permission denied", "/photos/a.jpg")


def test_image_records_round_trip_and_missing_files_are_named(tmp_path):
    records = [ImageRecord(file_name="0.png", text='a "photo"\nü', prompt_id=3, image_index=2)]
    with pytest.raises(ValueError, match=r"no metadata\.jsonl"):
        read_image_records(tmp_path)
    write_image_records(tmp_path, records)
    with pytest.raises(ValueError, match=r"0\.png is missing"):
        read_image_records(tmp_path)
    (tmp_path / "0.png").touch()
    assert read_image_records(tmp_path) == records
    assert json.loads((tmp_path / "metadata.jsonl").read_text())["file_name"] == "0.png"


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v, max_size=3), max_leaves=9)
)
def test_json_round_trips(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_prompts_that_could_not_be_made_are_not_read_as_prompts(tmp_path: Path):
    skipped = {**PROMPT, "prompt_id": 2, "prompt_set": "skipped", "reason": "it has no verb", "edits": []}
    write_table(tmp_path / "prompts.parquet", [PROMPT, skipped], prompt_schema())
    assert read_prompts(tmp_path / "prompts.parquet") == [PROMPT]


@pytest.mark.parametrize(("row", "schema"), [(PROMPT, prompt_schema), (SCORE, score_schema)])
def test_tables_round_trip_with_the_same_bytes_and_refuse_other_columns(row, schema, tmp_path):
    for name in ("a", "b"):
        write_table(tmp_path / name, [row, row], schema())
    assert read_table(tmp_path / "a", schema()) == [row, row]
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")
    with pytest.raises(ValueError, match="columns"):
        write_table(tmp_path / "c", [{**row, "extra": 1}], schema())
    other = score_schema if schema is prompt_schema else prompt_schema
    with pytest.raises(ValueError, match="columns"):
        read_table(tmp_path / "a", other())
    assert not (tmp_path / "c").exists()


def test_an_empty_table_keeps_its_columns(tmp_path):
    write_table(tmp_path / "a", [], score_schema())
    assert read_table(tmp_path / "a", score_schema()) == []


def test_embeddings_round_trip_with_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_embeddings(tmp_path / name, embeddings())
    read = read_embeddings(tmp_path / "a")
    np.testing.assert_array_equal(read.images, embeddings().images)
    assert read.records == embeddings().records
    assert read.texts.keys() == embeddings().texts.keys()
    for prompt, row in embeddings().texts.items():
        np.testing.assert_array_equal(read.texts[prompt], row)
    assert digest_of_folder(tmp_path / "a") == digest_of_folder(tmp_path / "b")


def test_embeddings_say_which_models_made_them(tmp_path):
    both = replace(embeddings(), scorer="a" * 64, dino=unit_rows(3, width=7), dino_scorer="b" * 64)
    write_embeddings(tmp_path / "a", both)
    read = read_embeddings(tmp_path / "a")
    assert (read.scorer, read.dino_scorer) == ("a" * 64, "b" * 64)
    np.testing.assert_array_equal(read.dino, both.dino)
    write_embeddings(tmp_path / "b", embeddings())
    assert read_embeddings(tmp_path / "b").dino is None


BROKEN = np.where(np.arange(3)[:, None] == 1, np.nan, unit_rows(3)).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": unit_rows(2)}, "2 rows of images for 3 images"),
        ({"images": 2 * unit_rows(3)}, r"row 0 of images \(0\.png\) has the norm 2, not 1 \(3 such rows\)"),
        ({"images": BROKEN}, r"row 1 of images \(1\.png\) has the norm nan"),
        ({"dino": BROKEN}, r"row 1 of dino \(1\.png\) has the norm nan"),
        ({"dino": unit_rows(4)}, "4 rows of dino for 3 images"),
        ({"texts": {"a photo": unit_rows(1)[0], "b photo": BROKEN[1]}}, r"row 1 of texts \(b photo\) has the norm nan"),
    ],
)
def test_embeddings_of_wrong_length_or_number_are_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}/a: {message}"):
        write_embeddings(tmp_path / "a", replace(embeddings(), **change))
    assert not (tmp_path / "a").exists()


def test_embeddings_broken_on_disk_are_refused(tmp_path):
    write_embeddings(tmp_path / "a", embeddings())
    arrays = load_file(tmp_path / "a" / "embeddings.safetensors")
    save_file({**arrays, "images": BROKEN}, tmp_path / "a" / "embeddings.safetensors")
    with pytest.raises(ValueError, match=r"a: row 1 of images \(1\.png\) has the norm nan"):
        read_embeddings(tmp_path / "a")
