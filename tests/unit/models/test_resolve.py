"""Every kind of model name, with real folders: what is kept, and what is refused with which remedy."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from aelif.artifacts import read_json, sha256_of
from aelif.models import names
from aelif.models.completeness import check_model, parts_of
from aelif.models.component import resolve_model as component
from aelif.models.names import builtin_folder, model_kind
from aelif.models.resolve import resolve_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = f"acme/tiny-sdxl@{COMMIT}"
CLIP = ["transformers", "CLIPTextModel"]
CLIP_TOKENS = ["transformers", "CLIPTokenizer"]
T5 = ["transformers", "T5EncoderModel"]
T5_TOKENS = ["transformers", "T5TokenizerFast"]
NOTHING = [None, None]
INDICES = {
    "StableDiffusionPipeline": {
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": CLIP,
        "tokenizer": CLIP_TOKENS,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "StableDiffusionXLPipeline": {
        "force_zeros_for_empty_prompt": True,
        "feature_extractor": NOTHING,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": CLIP,
        "text_encoder_2": CLIP,
        "tokenizer": CLIP_TOKENS,
        "tokenizer_2": CLIP_TOKENS,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "StableDiffusion3Pipeline": {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": CLIP,
        "text_encoder_2": CLIP,
        "text_encoder_3": T5,
        "tokenizer": CLIP_TOKENS,
        "tokenizer_2": CLIP_TOKENS,
        "tokenizer_3": T5_TOKENS,
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "FluxPipeline": {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": CLIP,
        "text_encoder_2": T5,
        "tokenizer": CLIP_TOKENS,
        "tokenizer_2": T5_TOKENS,
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
}
FAMILIES = dict(zip(INDICES, ("sd", "sdxl", "sd3", "flux"), strict=True))
WEIGHTS = [
    "text_encoder/model.safetensors",
    "text_encoder_2/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
]
CONFIGS = [
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/vocab.json",
    "unet/config.json",
    "vae/config.json",
]
"""Files of an SDXL folder."""


def write_model(folder: Path, *, pipeline: str = "StableDiffusionXLPipeline", **changes: object) -> Path:
    """Write the skeleton of a diffusers folder: true names, tiny weights; `changes` go to its index."""
    index = {"_class_name": pipeline, "_diffusers_version": "0.38.0", **INDICES.get(pipeline, {}), **changes}
    folder.mkdir(parents=True, exist_ok=True)
    for number, (part, library, class_name) in enumerate(parts_of(index)):
        texts = ["config.json"]
        if "Tokenizer" in class_name:
            texts = ["spiece.model"] if class_name.startswith("T5") else ["vocab.json", "merges.txt"]
        elif "Scheduler" in class_name:
            texts = ["scheduler_config.json"]
        (folder / part).mkdir(exist_ok=True)
        for text in texts:
            (folder / part / text).write_text("{}")
        if texts == ["config.json"]:
            stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
            value = np.full((2, 2), number, np.float16)
            save_file({"weight": value}, folder / part / f"{stem}.safetensors")
    (folder / "model_index.json").write_text(json.dumps(index))
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
    extras = ["unet/model.onnx", "run.py", ".cache/token.json", "source.json"]
    extras += ["sd_xl_base.safetensors", "vae_1_0/config.json", "unet/diffusion_pytorch_model.fp16.safetensors"]
    extras += ["text_encoder/model.fp16-00001-of-00002.safetensors", "unet/model.non_ema.safetensors"]
    for extra in extras:
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
    "name", ["vae/config.json", "scheduler/scheduler_config.json", "tokenizer/merges.txt", *WEIGHTS]
)
def test_a_missing_file_is_named(name, model, tmp_path):
    (model / name).unlink()
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
    write_model(model, pipeline="SanaPipeline")
    known = r"StableDiffusionPipeline \(sd\), StableDiffusionXLPipeline \(sdxl\), .*\(sd3\), FluxPipeline \(flux\)"
    with pytest.raises(ValueError, match=rf"'SanaPipeline'; known: {known}"):
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
        ("", "base_model = ''.*builtin:miniature-sdxl, builtin:miniature-sd3,"),
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
    package = tmp_path / "package" / "names.py"
    monkeypatch.setattr(names, "__file__", str(package))
    with pytest.raises(ValueError, match="make miniature"):
        builtin_folder("miniature-sdxl")
    packaged = write_model(package.parent / "miniature" / "weights" / "sdxl")
    assert resolve_model("builtin:miniature-sdxl", tmp_path / "out").family == "sdxl"
    assert (tmp_path / "out" / "model_index.json").samefile(packaged / "model_index.json")


def test_links_are_replaced_by_copies_where_the_file_system_refuses(hub_cache, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    resolve_model(HUB, tmp_path / "out")
    name = "unet/diffusion_pytorch_model.safetensors"
    assert sha256_of(tmp_path / "out" / name) == sha256_of(hub_cache / name)


def test_a_registered_model_comes_through_the_registry(tmp_path, monkeypatch):
    """A whole model that someone registered; fine-tunes are composed in tests/unit/registry/test_models.py."""
    models = pytest.importorskip("aelif.registry.models")
    asked = []

    def open_registered(uri, destination, *, tracking_uri):
        asked.append((uri, tracking_uri))
        return models.Registered(trained=write_model(destination), base_uri="", base_digest="", version="3")

    monkeypatch.setattr(models, "open_registered", open_registered)
    source = resolve_model("models:/dog@champion", tmp_path / "out", tracking_uri="sqlite:////x.db")
    assert (source.family, source.uri) == ("sdxl", "models:/dog/3")
    assert asked == [("models:/dog@champion", "sqlite:////x.db")]


def test_the_component_writes_the_model_and_its_lineage(model, tmp_path, monkeypatch):
    monkeypatch.setenv("AELIF_EVENTS", str(tmp_path / "events.jsonl"))
    output = type("Output", (), {"path": str(tmp_path / "step" / "model"), "metadata": {}})()
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for name in files(model):
            archive.write(model / name, name)
    component.python_func(base_model=str(tmp_path / "model.zip"), base_fingerprint="", model=output, code_version="c")
    assert output.metadata["family"] == "sdxl"
    assert output.metadata["digest"] == read_json(tmp_path / "step" / "model" / "source.json")["digest"]


# ── Families ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pipeline", INDICES)
def test_every_family_is_recognised_and_every_part_demanded(pipeline, tmp_path):
    assert check_model(write_model(tmp_path / "whole", pipeline=pipeline), uri="x") == FAMILIES[pipeline]
    for part, _, _ in parts_of(INDICES[pipeline]):
        folder = write_model(tmp_path / part, pipeline=pipeline)
        shutil.rmtree(folder / part)
        with pytest.raises(ValueError, match=rf"x: {part}/\S+ .*is missing from"):
            check_model(folder, uri="x")
        folder = write_model(tmp_path / f"no-{part}", pipeline=pipeline, **{part: NOTHING})
        if part not in ("text_encoder_3", "tokenizer_3"):
            with pytest.raises(
                ValueError, match=rf"names no '{part}', which {pipeline} \({FAMILIES[pipeline]}\) needs"
            ):
                check_model(folder, uri="x")


def test_t5_may_be_left_out_of_sd3_but_not_by_halves(tmp_path):
    pipeline = "StableDiffusion3Pipeline"
    absent = {"text_encoder_3": NOTHING, "tokenizer_3": NOTHING}
    assert check_model(write_model(tmp_path / "a", pipeline=pipeline, **absent), uri="x") == "sd3"
    for part, twin in (("text_encoder_3", "tokenizer_3"), ("tokenizer_3", "text_encoder_3")):
        folder = write_model(tmp_path / part, pipeline=pipeline, **{part: NOTHING})
        with pytest.raises(ValueError, match=f"names no '{part}'"):
            check_model(folder, uri="x")
        assert (folder / twin).exists()


def test_tokenizers_may_come_as_one_file(tmp_path):
    folder = write_model(tmp_path / "flux", pipeline="FluxPipeline")
    for part, old in (("tokenizer", "merges.txt"), ("tokenizer_2", "spiece.model")):
        (folder / part / old).unlink()
        with pytest.raises(ValueError, match=f"{part}/({old}|tokenizer.json) is missing"):
            check_model(folder, uri="x")
        (folder / part / "tokenizer.json").write_text("{}")
        check_model(folder, uri="x")


def test_safety_checkers_are_neither_demanded_nor_kept(tmp_path):
    folder = write_model(tmp_path / "sd15", pipeline="StableDiffusionPipeline")
    without = resolve_model(str(folder), tmp_path / "without")
    before = (folder / "model_index.json").read_bytes()
    for name in ("safety_checker", "feature_extractor"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    with_checker = resolve_model(str(folder), tmp_path / "with")
    assert with_checker.digest == without.digest
    index = read_json(tmp_path / "with" / "model_index.json")
    assert (index["safety_checker"], index["feature_extractor"]) == (NOTHING, NOTHING)
    assert index["requires_safety_checker"] is False
    assert with_checker.files["model_index.json"] == sha256_of(tmp_path / "with" / "model_index.json")
    assert (folder / "model_index.json").read_bytes() == before
    assert not any(name.startswith(("safety", "feature")) for name in files(tmp_path / "with"))
    assert check_model(tmp_path / "with", uri="x") == "sd"


@pytest.mark.parametrize(
    ("pipeline", "part"), [("FluxPipeline", "transformer"), ("StableDiffusion3Pipeline", "text_encoder_3")]
)
def test_sharded_parts_of_large_families(pipeline, part, tmp_path):
    folder = write_model(tmp_path / "model", pipeline=pipeline)
    whole = next((folder / part).glob("*.safetensors"))
    shards = [f"{whole.stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in shards:
        shutil.copy(whole, folder / part / shard)
    whole.unlink()
    (folder / part / f"{whole.name}.index.json").write_text(
        json.dumps({"weight_map": dict(zip("ab", shards, strict=True))})
    )
    assert {f"{part}/{shard}" for shard in shards} < set(resolve_model(str(folder), tmp_path / "out").files)
    (folder / part / shards[0]).unlink()
    with pytest.raises(ValueError, match=f"{part}/{shards[0]} is missing"):
        resolve_model(str(folder), tmp_path / "out")


def test_the_hub_is_asked_for_what_is_read_and_nothing_else(tmp_path, monkeypatch):
    """SD 1.5 with its checker, in every format that repositories hold: the true filter runs on true names."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    repository = write_model(tmp_path / "repository", pipeline="StableDiffusionPipeline")
    wanted = files(repository)
    unwanted = [
        "safety_checker/model.safetensors", "feature_extractor/preprocessor_config.json", "v1-5-pruned.safetensors",
        "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors", "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.safetensors.index.fp16.json", "text_encoder/flax_model.msgpack",
    ]  # fmt: skip
    asked = []

    def snapshot_download(name, *, revision, allow_patterns, ignore_patterns):
        asked.extend(filter_repo_objects(
            [*wanted, *unwanted], allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ))  # fmt: skip

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: str(repository / "model_index.json"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert resolve_model(HUB, tmp_path / "out").family == "sd"
    assert sorted(asked) == wanted
    write_model(repository, pipeline="SanaPipeline")
    asked.clear()
    with pytest.raises(ValueError, match="'SanaPipeline'; known:"):
        resolve_model(HUB, tmp_path / "out")
    assert not asked
