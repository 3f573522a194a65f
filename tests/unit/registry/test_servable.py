"""A registered model gives the pipeline's own images, on the base model that it was trained on and no other."""

import base64
import io
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from PIL import Image
from tests.registered import SYNTHESIS, write_base, write_model, write_trained
from tests.tiny import write_tiny_flux, write_tiny_sd3, write_tiny_sdxl

from aelif.artifacts import digest_of_folder, read_json, write_json
from aelif.config import StressConfig, to_dict
from aelif.models.sampling import sample
from aelif.progress import StepProgress
from aelif.randomness import torch_generator
from aelif.registry.servable import requirements, write_servable
from aelif.registry.serving import find_base, open_served
from aelif.synthesize.sampler import generate_images, open_generator

PROMPTS = ("a photo of sks dog", "a poto of sks dog")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("AELIF_BASE_MODEL", raising=False)
    monkeypatch.setenv("AELIF_MODEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return write_base(write_tiny_sdxl(folder / "raw"), folder / "base")


@pytest.fixture(scope="module", params=["lora", "full"])
def trained(request, base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return write_trained(base, folder / "trained", method=request.param, text=request.param == "lora")


@pytest.fixture(scope="module")
def model(trained, base) -> Path:
    return write_model(trained, base, trained.parent / "model")


def rows() -> list[dict]:
    return [
        {"prompt_id": number, "clean_id": 0, "prompt": prompt, "prompt_set": "clean" if number == 0 else "perturbed",
         "family": "clean", "severity": 0.0}
        for number, prompt in enumerate(PROMPTS)
    ]  # fmt: skip


def pipelines_images(base: Path, trained: Path, output: Path, *, batch_size: int) -> list[np.ndarray]:
    config = SYNTHESIS.__class__(**{**to_dict(SYNTHESIS), "batch_size": batch_size})
    generate_images(
        base=base, model=trained, prompts=rows(), output=output, config=config, stress=StressConfig(), shard=0,
        num_shards=1, progress=StepProgress("synthesize", ""),
    )  # fmt: skip
    return [np.asarray(Image.open(path)) for path in sorted(output.glob("*.png"))]


def decode(image: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image))))


def test_images_are_the_pipelines_to_the_last_bit(model, trained, base, tmp_path):
    loaded = mlflow.pyfunc.load_model(str(model))
    table = loaded.predict([{"prompt": prompt} for prompt in PROMPTS], params={"seed": 3, "num_images": 2})
    assert list(table["prompt"]) == [PROMPTS[0]] * 2 + [PROMPTS[1]] * 2
    assert list(table["image_index"]) == [0, 1, 0, 1]
    images = [decode(image) for image in table["image"]]
    np.testing.assert_array_equal(images, pipelines_images(base, trained, tmp_path / "alike", batch_size=2))
    mixed = np.array(pipelines_images(base, trained, tmp_path / "mixed", batch_size=3), dtype=int)
    assert np.abs(mixed - np.array(images, dtype=int)).max() <= 1

    again = loaded.predict([{"prompt": prompt} for prompt in PROMPTS], params={"seed": 3, "num_images": 2})
    assert again.equals(table)  # text encoders are still there
    other = loaded.predict([{"prompt": PROMPTS[0]}], params={"seed": 3, "clean_id": 1})
    assert other["image"][0] != table["image"][0]


def test_the_folder_says_what_the_model_takes_and_holds_no_more_than_it_needs(model, trained, base):
    names = {path.relative_to(trained) for path in trained.rglob("*") if path.is_file() and path.name != "dog.png"}
    kept = model / "artifacts" / "trained"
    assert {path.relative_to(kept) for path in kept.rglob("*") if path.is_file()} == names
    source = read_json(base / "source.json")
    facts = read_json(model / "artifacts" / "serving.json")
    assert facts == {
        "base_uri": source["uri"], "base_digest": source["digest"], "family": "sdxl", "trial": "aelif_mask:0.3/seed=0",
        "image_size": 64, "max_sequence_length": 16, "steps": 2, "guidance_scale": 5.0, "batch_size": 2,
    }  # fmt: skip
    described = Model.load(str(model))
    assert {item.name: item.default for item in described.signature.params.params} == {
        "negative_prompt": "", "num_inference_steps": 2, "guidance_scale": 5.0, "height": 64, "width": 64, "seed": 0,
        "num_images": 1, "clean_id": 0,
    }  # fmt: skip
    assert described.signature.inputs.input_names() == ["prompt", "negative_prompt"]
    assert "a photo of sks dog" in (model / "input_example.json").read_text()
    assert str(model.parent) not in (model / "MLmodel").read_text().replace(facts["base_uri"], "")
    pinned = (model / "requirements.txt").read_text().splitlines()
    assert set(requirements()) <= set(pinned)
    assert f"torch=={version('torch').partition('+')[0]}" in pinned
    assert all("==" in line for line in pinned)


def test_writing_twice_gives_the_same_but_for_the_time(model, trained, base, tmp_path):
    again = write_model(trained, base, tmp_path / "again")
    assert digest_of_folder(again / "artifacts") == digest_of_folder(model / "artifacts")
    one, other = (
        [line for line in (folder / "MLmodel").read_text().splitlines() if "utc_time_created" not in line]
        for folder in (model, again)
    )
    assert one == other


def test_a_negative_prompt_takes_the_place_of_the_unconditional_one(base, tmp_path):
    trained = write_trained(base, tmp_path / "trained")
    served = open_served(trained, write_model(trained, base, tmp_path / "model") / "artifacts" / "serving.json")
    adapter = open_generator(base, trained)
    pixels = sample(
        adapter, adapter.encode_text([PROMPTS[0]]), [torch_generator(0, "synthesize/latents", 0, 0)], config=SYNTHESIS,
        image_size=64, negative=adapter.encode_text(["a cat"]),
    )  # fmt: skip
    asked = [{"prompt": PROMPTS[0]}, {"prompt": PROMPTS[0], "negative_prompt": "a cat"},
             {"prompt": PROMPTS[0], "negative_prompt": float("nan")}]  # fmt: skip
    plain, negative, missing = (row["image"] for row in served.generate(asked, {}))
    np.testing.assert_array_equal(decode(negative), pixels[0].numpy())
    assert plain == missing != negative
    (shared,) = served.generate(asked[:1], {"negative_prompt": "a cat"})
    assert shared["image"] == negative
    small = served.generate(asked[:1], {"height": 32, "width": 32, "num_images": 3})  # more than one batch
    assert [decode(row["image"]).shape for row in small] == [(32, 32, 3)] * 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"height": 65, "width": 65}, "height = 65: give a multiple of 8"),
        ({"height": 0, "width": 0}, "height = 0"),
        ({"height": 8192, "width": 8192}, "height = 8192.*at most"),
        ({"width": 128}, r"height and width = \(64, 128\): images are square"),
        ({"num_images": 0}, "num_images = 0: give 1 to"),
        ({"num_images": 1000}, "num_images = 1000: give 1 to"),
        ({"num_inference_steps": 0}, "num_inference_steps = 0"),
        ({"guidance_scale": 0.5}, "guidance_scale = 0.5: give at least 1"),
        ({"guidance_scale": float("nan")}, "guidance_scale = nan"),
        ({"seed": -1}, "seed = -1"),
        ({"clean_id": -1}, "clean_id = -1"),
        ({"guidance_scale": 1.0, "negative_prompt": "a cat"}, "negative_prompt = 'a cat'.*no effect"),
        ({"stpes": 3}, "stpes: no such setting"),
    ],
)
def test_bad_parameters_are_named(serve, params, message):
    with pytest.raises(ValueError, match=message):
        serve.generate([{"prompt": PROMPTS[0]}], params)


@pytest.mark.parametrize("row", [{}, {"prompt": " "}, {"prompt": None}, {"prompt": 3}])
def test_bad_prompts_are_named(serve, row):
    with pytest.raises(ValueError, match=r"prompt = .*: give a text"):
        serve.generate([row], {})


@pytest.fixture(scope="module")
def serve(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AELIF_MODEL_CACHE", str(folder / "cache"))
        trained = write_trained(base, folder / "trained")
        return open_served(trained, write_model(trained, base, folder / "model") / "artifacts" / "serving.json")


def test_mlflow_refuses_wrong_types(base, tmp_path):
    trained = write_trained(base, tmp_path / "trained")
    loaded = mlflow.pyfunc.load_model(str(write_model(trained, base, tmp_path / "model")))
    with pytest.raises(MlflowException, match="seed"):
        loaded.predict([{"prompt": "a dog"}], params={"seed": "many"})
    with pytest.raises(MlflowException, match="prompt"):
        loaded.predict([{"text": "a dog"}])


@pytest.mark.parametrize("write", [write_tiny_sd3, write_tiny_flux])
def test_flow_models_serve_as_well(write, tmp_path):
    base = write_base(write(tmp_path / "raw"), tmp_path / "base")
    trained = write_trained(base, tmp_path / "trained")
    served = open_served(trained, write_model(trained, base, tmp_path / "model") / "artifacts" / "serving.json")
    images = [decode(row["image"]) for row in served.generate(rows(), {"seed": 3, "num_images": 2})]
    np.testing.assert_array_equal(images, pipelines_images(base, trained, tmp_path / "images", batch_size=2))
    if write is write_tiny_flux:
        with pytest.raises(ValueError, match="negative_prompt"):
            served.generate(rows(), {"negative_prompt": "a cat"})


# ── The base model ─────────────────────────────────────────────────────────────────────────────


def test_the_base_is_fetched_once_and_checked(base, cache, tmp_path, monkeypatch):
    source = read_json(base / "source.json")
    found = find_base(source["uri"], source["digest"])
    assert found == cache / source["digest"]
    assert find_base("org/nowhere", source["digest"]) == found  # nothing is fetched again
    (found / "unet" / "config.json").unlink()  # a cache that someone cleaned by halves
    with pytest.raises(ValueError, match="base model cannot be had"):
        find_base("/no/such/model", source["digest"])
    with pytest.raises(ValueError, match=r"has digest \w+ now, trained on was 0000"):
        find_base(source["uri"], "0" * 64)
    with pytest.raises(ValueError, match="not recorded"):
        find_base("", "")
    assert not list(cache.glob(".base-*"))


def test_a_base_that_lies_here_already_is_taken_if_it_is_the_same(base, cache, tmp_path, monkeypatch):
    digest = read_json(base / "source.json")["digest"]
    monkeypatch.setenv("AELIF_BASE_MODEL", str(base))
    assert find_base("org/nowhere", digest) == base
    raw = write_tiny_sdxl(tmp_path / "raw")  # as somebody downloaded it
    monkeypatch.setenv("AELIF_BASE_MODEL", str(raw))
    assert find_base("org/nowhere", digest) == cache / digest
    shutil.rmtree(cache)
    (raw / "scheduler" / "scheduler_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"AELIF_BASE_MODEL: its base model .* has digest"):
        find_base("org/nowhere", digest)


def test_a_broken_cache_is_mended(base, cache):
    source = read_json(base / "source.json")
    found = find_base(source["uri"], source["digest"])
    (found / "unet" / "config.json").unlink()
    assert (find_base(source["uri"], source["digest"]) / "unet" / "config.json").is_file()


def test_folders_of_other_programs_are_refused(base, tmp_path):
    trained = write_trained(base, tmp_path / "trained")
    write = {"synthesis": to_dict(SYNTHESIS), "example_prompt": "x"}
    card = read_json(trained / "aelif.json")
    with pytest.raises(ValueError, match=r"source\.json: it is missing"):
        write_servable(tmp_path / "m", trained=trained, base=trained, **write)
    write_json(trained / "aelif.json", {key: value for key, value in card.items() if key != "image_size"})
    with pytest.raises(ValueError, match=r"aelif\.json: image_size is missing"):
        write_servable(tmp_path / "m", trained=trained, base=base, **write)
    assert not (tmp_path / "m").exists()


def test_the_script_hands_on_what_mlflow_gives_it(monkeypatch):
    from aelif.registry import serving, serving_model

    asked = SimpleNamespace(generate=lambda rows, params: [{"prompt": json.dumps([rows, params])}])
    monkeypatch.setattr(serving, "open_served", lambda trained, facts: asked)
    model = serving_model.ImageModel()
    context = SimpleNamespace(artifacts={"trained": "t", "serving": "s"})
    model.load_context(context)
    table = model.predict(context, serving_model.pd.DataFrame({"prompt": ["x"]}), {"seed": 1})
    assert table["prompt"][0] == '[[{"prompt": "x"}], {"seed": 1}]'
