"""Every kind of model name, with real folders: what is kept, and what is refused with which remedy."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from aelif.artifacts import read_json, sha256_of
from aelif.models import resolve
from aelif.models.completeness import check_model
from aelif.models.component import resolve_model as component
from aelif.models.resolve import builtin_folder, model_kind, resolve_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = f"acme/tiny-sdxl@{COMMIT}"
INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.38.0",
    "force_zeros_for_empty_prompt": True,
    "feature_extractor": [None, None],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
WEIGHTS = {
    "text_encoder/model.safetensors": 1.0,
    "unet/diffusion_pytorch_model.safetensors": 2.0,
    "vae/diffusion_pytorch_model.safetensors": 3.0,
}
CONFIGS = [
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "unet/config.json",
    "vae/config.json",
]


def write_model(folder: Path, *, pipeline: str = "StableDiffusionXLPipeline") -> Path:
    """Write the skeleton of a diffusers folder: true names, tiny weights."""
    for name in CONFIGS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    for name, value in WEIGHTS.items():
        save_file({"weight": np.full((2, 2), value, np.float16)}, folder / name)
    (folder / "model_index.json").write_text(json.dumps({**INDEX, "_class_name": pipeline}))
    return folder


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A hub cache as `hf download` leaves it: blobs, and links to them; the hub is out of reach."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache" / "models--acme--tiny-sdxl"
    snapshot = write_model(repository / "snapshots" / COMMIT)
    (repository / "blobs").mkdir()
    for path in sorted(path for path in snapshot.rglob("*") if path.is_file()):
        blob = repository / "blobs" / sha256_of(path)
        path.replace(blob)
        path.symlink_to(blob)
    return snapshot


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_local_folder_is_copied_without_what_is_not_needed(model, tmp_path):
    for extra in ("unet/model.onnx", "run.py", ".cache/token.json", "source.json"):
        (model / extra).parent.mkdir(exist_ok=True)
        (model / extra).write_text("secret")
    (model / "LICENSE").write_text("licence")
    source = resolve_model(str(model), tmp_path / "out")
    kept = sorted([*CONFIGS, *WEIGHTS, "LICENSE", "model_index.json"])
    assert files(tmp_path / "out") == sorted([*kept, "source.json"])
    assert (source.uri, source.family, list(source.files)) == (str(model), "sdxl", kept)
    assert all(sha256_of(tmp_path / "out" / name) == digest for name, digest in source.files.items())
    assert read_json(tmp_path / "out" / "source.json")["digest"] == source.digest
    assert not list(tmp_path.glob(".download-*"))


def test_later_edits_of_a_local_folder_do_not_reach_the_copy(model, tmp_path):
    source = resolve_model(str(model), tmp_path / "out")
    save_file({"weight": np.zeros((2, 2), np.float16)}, model / "unet" / "diffusion_pytorch_model.safetensors")
    name = "unet/diffusion_pytorch_model.safetensors"
    assert sha256_of(tmp_path / "out" / name) == source.files[name]
    assert resolve_model(str(model), tmp_path / "out").digest != source.digest


def test_an_archive_gives_the_same_digest_as_its_folder(model, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "model"), "gztar", tmp_path, "model")
    assert resolve_model(archive, tmp_path / "a").digest == resolve_model(str(model), tmp_path / "b").digest


def test_sharded_weights_are_checked_shard_by_shard(model, tmp_path):
    whole = model / "unet" / "diffusion_pytorch_model.safetensors"
    shards = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in shards:
        shutil.copy(whole, model / "unet" / shard)
    whole.unlink()
    index = {"metadata": {}, "weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}}
    (model / "unet" / f"{whole.name}.index.json").write_text(json.dumps(index))
    resolve_model(str(model), tmp_path / "out")
    (model / "unet" / shards[1]).unlink()
    with pytest.raises(ValueError, match=f"unet/{shards[1]} is missing"):
        check_model(model, uri=str(model))


@pytest.mark.parametrize(
    "name", ["vae/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json", *WEIGHTS]
)
def test_a_missing_file_is_named(name, model, tmp_path):
    (model / name.replace("tokenizer.json", "merges.txt")).unlink()  # either file would do
    with pytest.raises(ValueError, match=f"{name} is missing.*save_pretrained"):
        resolve_model(str(model), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pickles_variants_and_single_files_are_refused_with_the_remedy(model, tmp_path):
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(ValueError, match=r"only the variant diffusion_pytorch_model\.fp16"):
        check_model(model, uri=str(model))
    (model / "unet" / "diffusion_pytorch_model.fp16.safetensors").rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"unet/diffusion_pytorch_model\.bin is a pickle.*safe_serialization"):
        check_model(model, uri=str(model))
    (tmp_path / "one").mkdir()
    checkpoint = tmp_path / "one" / "sd_xl_base.safetensors"
    checkpoint.write_bytes(b"")
    for uri in (checkpoint, checkpoint.parent):
        with pytest.raises(ValueError, match="single-file checkpoint; convert it"):
            resolve_model(str(uri), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no diffusers folder"):
        resolve_model(str(tmp_path / "empty"), tmp_path / "out")


def test_unknown_pipelines_and_broken_indices_are_named(model):
    write_model(model, pipeline="FluxPipeline")
    with pytest.raises(ValueError, match=r"'FluxPipeline'; known: StableDiffusionXLPipeline \(sdxl\)"):
        check_model(model, uri="x/y")
    for text, message in {"{": "is not JSON", "[]": "is not a table"}.items():
        (model / "model_index.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            check_model(model, uri=str(model))


def test_a_cached_hub_snapshot_is_linked_without_network(hub_cache, tmp_path):
    source = resolve_model(HUB, tmp_path / "out")
    name = "unet/diffusion_pytorch_model.safetensors"
    assert not (tmp_path / "out" / name).is_symlink()
    assert (tmp_path / "out" / name).samefile(hub_cache / name)
    assert (source.family, sorted(source.files)) == ("sdxl", sorted([*CONFIGS, *WEIGHTS, "model_index.json"]))


def test_offline_the_missing_file_is_named(hub_cache, tmp_path):
    (hub_cache / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"unet/diffusion_pytorch_model\.safetensors is missing.*--revision {COMMIT}"):
        resolve_model(HUB, tmp_path / "out")
    (hub_cache / "model_index.json").unlink()
    with pytest.raises(ValueError, match=r"model_index\.json is not in the hub cache, and the hub cannot be reached"):
        resolve_model(HUB, tmp_path / "out")


def test_an_interrupted_hub_download_is_named_and_a_missing_card_forgiven(hub_cache, tmp_path):
    """The hub client keeps a listing of what a commit holds; with it, it refuses an incomplete snapshot itself."""
    listing = {name: {"size": 1, "blob_id": "0" * 40} for name in (*CONFIGS, *WEIGHTS, "model_index.json", "README.md")}
    trees = hub_cache.parents[1] / "trees"
    trees.mkdir()
    (trees / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": listing}))
    resolve_model(HUB, tmp_path / "out")
    (hub_cache / "vae" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"vae/config\.json is missing"):
        resolve_model(HUB, tmp_path / "out")


@pytest.mark.parametrize("uri", ["acme/tiny-sdxl", "acme/tiny-sdxl@main", "acme/tiny-sdxl@v1", "acme/tiny-sdxl@"])
def test_an_unpinned_hub_id_is_refused_with_the_remedy(uri):
    with pytest.raises(ValueError, match=r"not pinned to a commit; write acme/tiny-sdxl@COMMIT"):
        model_kind(uri)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("builtin:miniature-sdlx", "did you mean 'miniature-sdxl'"),
        ("/no/such/model", "no such file or folder"),
        ("models/sdxl/base", "no such file or folder"),
        ("gs://bucket/model", "unknown scheme"),
        ("models:/name", "models:/name@alias"),
        ("models:/a/b@c", "models:/name@alias"),
        ("", "base_model = ''"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_read(uri, message):
    with pytest.raises(ValueError, match=message):
        model_kind(uri)


def test_the_kinds_of_names(model):
    names = {"s3://bucket/model": "s3", str(model): "local", HUB: "hub"}
    names |= {"models:/dog@champion": "registry", "models:/dog/3": "registry"}
    assert {name: model_kind(name) for name in names} == names


def test_the_packaged_model_is_whole_where_it_is_installed(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"builtin:other"):
        builtin_folder("other")
    package = tmp_path / "package" / "resolve.py"
    monkeypatch.setattr(resolve, "__file__", str(package))
    with pytest.raises(ValueError, match="make miniature"):
        builtin_folder("miniature-sdxl")
    packaged = write_model(package.parent / "miniature" / "weights" / "sdxl")
    assert resolve_model("builtin:miniature-sdxl", tmp_path / "out").family == "sdxl"
    assert (tmp_path / "out" / "model_index.json").samefile(packaged / "model_index.json")


def test_links_are_replaced_by_copies_where_the_file_system_refuses(hub_cache, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(resolve.os, "link", refuse)
    resolve_model(HUB, tmp_path / "out")
    name = "unet/diffusion_pytorch_model.safetensors"
    assert sha256_of(tmp_path / "out" / name) == sha256_of(hub_cache / name)


def test_a_registered_model_comes_through_the_registry(tmp_path, monkeypatch):
    tracking = pytest.importorskip("aelif.registry.tracking")
    asked = []

    def download_model(uri, destination):
        asked.append(uri)
        return write_model(destination)

    monkeypatch.setattr(tracking, "download_model", download_model)
    assert resolve_model("models:/dog@champion", tmp_path / "out").family == "sdxl"
    assert asked == ["models:/dog@champion"]


def test_the_component_writes_the_model_and_its_lineage(model, tmp_path, monkeypatch):
    monkeypatch.setenv("AELIF_EVENTS", str(tmp_path / "events.jsonl"))
    output = type("Output", (), {"path": str(tmp_path / "step" / "model"), "metadata": {}})()
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for name in files(model):
            archive.write(model / name, name)
    component.python_func(base_model=str(tmp_path / "model.zip"), base_fingerprint="", model=output, code_version="c")
    assert output.metadata["family"] == "sdxl"
    assert output.metadata["digest"] == read_json(tmp_path / "step" / "model" / "source.json")["digest"]
