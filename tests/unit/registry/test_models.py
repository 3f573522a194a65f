"""What an address of the registry stands for: the files as training wrote them, or one line on why not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.registered import SYNTHESIS, register, write_base, write_model, write_trained
from tests.tiny import write_tiny_sd3, write_tiny_sdxl

from aelif.artifacts import digest_of_folder, read_json
from aelif.models.adapter import open_model
from aelif.models.compose import write_whole
from aelif.models.names import base_fingerprint
from aelif.models.pipeline import open_pipeline
from aelif.models.resolve import resolve_exactly, resolve_model
from aelif.models.sampling import sample
from aelif.randomness import torch_generator
from aelif.registry.lineage import weights_digest
from aelif.registry.models import download_model, open_registered, registered_digest
from aelif.registry.store import TrackingError

NAME = "dog"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return write_base(write_tiny_sdxl(folder / "raw"), folder / "base")


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trained")
    return {
        "lora": write_trained(base, folder / "lora", method="lora", text=True),
        "full": write_trained(base, folder / "full", method="full"),
        "both": write_trained(base, folder / "both", method="full", text=True),
    }


@pytest.fixture(scope="module")
def models(base, trained, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {method: write_model(path, base, folder / method) for method, path in trained.items()}


@pytest.fixture
def here(tracking, monkeypatch) -> dict[str, str]:
    return {"tracking_uri": tracking["tracking_uri"]}


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".png"
    }  # fmt: skip


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_trained_folder_comes_back_with_its_base(client, here, models, trained, base, tmp_path, method):
    register(client, NAME, models[method], weights__sha256=weights_digest(trained[method]))
    held = open_registered(f"models:/{NAME}@champion", tmp_path / "deep" / "out", **here)
    source = read_json(base / "source.json")
    assert (held.version, held.base_uri, held.base_digest) == ("1", source["uri"], source["digest"])
    assert held.trained == tmp_path / "deep" / "out"
    assert files(held.trained) == files(trained[method])
    assert files(download_model(f"models:/{NAME}/1", tmp_path / "again", **here)) == files(trained[method])
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_versions_of_the_first_layout_come_back_too(client, here, trained, tmp_path):
    register(client, NAME, trained["lora"], weights__sha256=weights_digest(trained["lora"]), base__digest="f" * 64)
    held = open_registered(f"models:/{NAME}/1", tmp_path / "out", **here)
    assert files(held.trained) == files(trained["lora"])
    assert (held.base_uri, held.base_digest) == ("", "")  # that digest was over a folder, not a model
    with pytest.raises(ValueError, match=r"models:/dog/1: its base model is not recorded"):
        resolve_model(f"models:/{NAME}/1", tmp_path / "whole", **here)


def test_the_digest_changes_with_the_model_that_a_name_stands_for(client, here, models, tmp_path):
    register(client, NAME, models["lora"], weights__sha256="a" * 64, base__digest="b" * 64)
    first = registered_digest(f"models:/{NAME}@champion", **here)
    assert first == registered_digest(f"models:/{NAME}/1", **here) == base_fingerprint(f"models:/{NAME}/1", **here)
    register(client, NAME, models["lora"], weights__sha256="c" * 64, base__digest="b" * 64)
    register(client, NAME, models["lora"], weights__sha256="a" * 64, base__digest="c" * 64)
    register(client, NAME, models["lora"])
    assert len({registered_digest(f"models:/{NAME}/{number}", **here) for number in (1, 2, 3, 4)}) == 4


# ── Faults ─────────────────────────────────────────────────────────────────────────────────────


def test_unknown_names_say_what_there_is(client, here, models, tmp_path):
    def message(uri: str) -> str:
        with pytest.raises(ValueError, match="model = ") as caught:
            download_model(uri, tmp_path / "out", **here)
        return str(caught.value)

    assert "none has been registered yet" in message(f"models:/{NAME}@champion")
    register(client, NAME, models["lora"])
    register(client, NAME, models["full"])
    assert f"known: models:/{NAME}@champion" in message(f"models:/{NAME}@challenger")
    assert f"known: models:/{NAME}@champion" in message("models:/cat/1")
    assert f"known: models:/{NAME}@champion" in message(f"models:/{NAME}/7")
    client.delete_model_version(NAME, "2")  # MLflow drops the champion's alias with it, silently
    assert "dog has no champion, but version 1; `aelif promote dog 1` makes one" in message(f"models:/{NAME}@champion")
    assert "a registered name has no slash" in message("models:/team/dog@champion")
    assert "write models:/NAME@ALIAS" in message("models:/dog/Production")
    assert not (tmp_path / "out").exists()


def test_no_store_is_said(tmp_path):
    with pytest.raises(ValueError, match="set MLFLOW_TRACKING_URI"):
        download_model(f"models:/{NAME}@champion", tmp_path / "out")
    with pytest.raises(ValueError, match="no MLflow database at /nowhere"):
        download_model(f"models:/{NAME}@champion", tmp_path / "out", tracking_uri="sqlite:////nowhere/mlflow.db")


@pytest.mark.parametrize("lost", ["all", "artifacts", "artifacts/trained/pytorch_lora_weights.safetensors"])
def test_lost_files_name_version_place_and_remedy(client, here, models, tmp_path, lost):
    folder = tmp_path / "stored"
    shutil.copytree(models["lora"], folder)
    register(client, NAME, folder)
    gone = folder if lost == "all" else folder / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(TrackingError, match=r"models:/dog/1: its files cannot be read at file://.*stored.*"
                                            r"register it again, or .*aelif rollback dog"):  # fmt: skip
        download_model(f"models:/{NAME}@champion", tmp_path / "out", **here)
    assert not (tmp_path / "out").exists()


def test_changed_weights_are_noticed(client, here, models, tmp_path):
    register(client, NAME, models["lora"], weights__sha256="0" * 64)
    with pytest.raises(TrackingError, match=r"models:/dog/1: weights at .* registered was 0000.*register it again"):
        download_model(f"models:/{NAME}/1", tmp_path / "out", **here)


# ── As a base model ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["lora", "full", "both"])
def test_a_registered_fine_tune_is_a_base_model(client, here, models, trained, base, tmp_path, monkeypatch, method):
    register(client, NAME, models[method])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here["tracking_uri"])
    source = resolve_model(f"models:/{NAME}@champion", tmp_path / "whole")
    assert (source.family, source.uri) == ("sdxl", f"models:/{NAME}/1")
    assert source.digest != read_json(base / "source.json")["digest"]
    assert not list(tmp_path.glob(".download-*"))

    whole = open_pipeline(tmp_path / "whole", None, dtype=torch.float32, device="cpu")
    stock = open_pipeline(base, trained[method], dtype=torch.float32, device="cpu")
    if method != "full":
        stock.fuse_lora(components=["text_encoder", "text_encoder_2", *(["unet"] if method == "lora" else [])])
        stock.unload_lora_weights()
    for part in ("unet", "text_encoder", "text_encoder_2", "vae"):
        expected = getattr(stock, part).state_dict()
        for name, tensor in getattr(whole, part).state_dict().items():
            torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-5)

    adapter = open_model(base, max_sequence_length=16)
    adapter.load_trained(trained[method])
    images = [
        sample(one, one.encode_text(["a photo of sks dog"]), [torch_generator(0, "test")], config=SYNTHESIS,
               image_size=64).numpy()
        for one in (adapter, open_model(tmp_path / "whole", max_sequence_length=16))
    ]  # fmt: skip
    np.testing.assert_array_equal(*images)


def test_a_fine_tune_of_a_registered_fine_tune(client, here, models, trained, base, tmp_path, monkeypatch):
    register(client, NAME, models["lora"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here["tracking_uri"])
    middle = tmp_path / "middle"
    resolve_model(f"models:/{NAME}/1", middle)
    top = write_trained(middle, tmp_path / "top", seed=1)
    register(client, "second", write_model(top, middle, tmp_path / "model"))
    resolve_model("models:/second@champion", tmp_path / "whole")
    write_whole(middle, top, tmp_path / "expected")
    assert {name: data for name, data in files(tmp_path / "whole").items() if name != "source.json"} == {
        name: data for name, data in files(tmp_path / "expected").items() if name != "source.json"
    }


def test_a_registered_whole_model_is_left_as_it_is(client, here, base, tmp_path):
    register(client, NAME, base)
    resolve_model(f"models:/{NAME}/1", tmp_path / "out", **here)
    assert read_json(tmp_path / "out" / "source.json")["digest"] == read_json(base / "source.json")["digest"]


def test_a_base_that_changed_is_refused(client, here, models, base, tmp_path):
    raw = write_tiny_sdxl(tmp_path / "raw")
    digest = resolve_model(str(raw), tmp_path / "base").digest
    (raw / "scheduler" / "scheduler_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"models:/dog/1: its base model .* has digest \w+ now, trained on was"):
        resolve_exactly(str(raw), tmp_path / "out", digest=digest, owner="models:/dog/1")
    assert not (tmp_path / "out").exists()


def test_lora_of_another_family_is_refused(trained, tmp_path):
    sd3 = write_tiny_sd3(tmp_path / "sd3")
    with pytest.raises(ValueError, match="another base"):
        write_whole(sd3, trained["lora"], tmp_path / "out")
    before = digest_of_folder(sd3)
    assert not (tmp_path / "out").exists()
    assert digest_of_folder(sd3) == before
