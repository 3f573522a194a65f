from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.tiny import write_tiny_sdxl

from aelif.artifacts import prompt_schema, read_prompts, read_table, sha256_of
from aelif.perturb.component import perturb_prompts

DATA = {
    "instance_images": "photos",
    "instance_prompt": "a photo of sks backpack",
    "class_prompt": "a photo of a backpack",
    "image_size": 64.0,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "base")


def run(base, path, prompts, seed=0):
    perturb_prompts.python_func(
        base=SimpleNamespace(path=str(base)), data=DATA, prompts=prompts, synthesis={"images_per_prompt": 2.0},
        seed=seed, table=SimpleNamespace(path=str(path)), code_version="test",
    )  # fmt: skip


def test_component_writes_the_same_table_twice(base, tmp_path):
    prompts = {"families": ["paper", "swap", "tense"], "severities": [0.1], "draws": 2.0, "contexts": 4.0}
    run(base, tmp_path / "step" / "table", prompts)
    run(base, tmp_path / "again", prompts)
    rows = read_table(tmp_path / "step" / "table", prompt_schema())
    assert len(rows) == 3 + 3 * 2 * 2 + 4 + 1 + 3
    assert len(read_prompts(tmp_path / "again")) == len(rows) - 3
    assert rows[0]["prompt"] == "a photo of sks backpack"
    assert all(row["embedding_shift"] > 0 for row in rows if row["prompt_set"] == "perturbed")
    assert sha256_of(tmp_path / "step" / "table") == sha256_of(tmp_path / "again")


def test_component_refuses_an_unknown_family(base, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'swap'"):
        run(base, tmp_path / "table", {"families": ["swop"]})
    assert not (tmp_path / "table").exists()


def test_component_declares_its_contract():
    spec = perturb_prompts.component_spec
    assert set(spec.inputs) == {"base", "data", "prompts", "synthesis", "seed", "code_version"}
    assert set(spec.outputs) == {"table"}
