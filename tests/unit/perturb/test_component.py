from types import SimpleNamespace

import pytest

from aelif.artifacts import prompt_schema, read_table, sha256_of
from aelif.perturb.component import perturb_prompts

DATA = {
    "instance_images": "photos",
    "instance_prompt": "a photo of sks backpack",
    "class_prompt": "a photo of a backpack",
    "image_size": 64.0,
}


def run(path, prompts, seed=0):
    perturb_prompts.python_func(
        data=DATA, prompts=prompts, seed=seed, table=SimpleNamespace(path=str(path)), code_version="test"
    )


def test_component_writes_the_same_table_twice(tmp_path):
    prompts = {"families": ["paper", "swap"], "severities": [0.1], "draws": 2.0, "protect_identifier": False}
    run(tmp_path / "step" / "table", prompts)
    run(tmp_path / "again", prompts)
    rows = read_table(tmp_path / "step" / "table", prompt_schema())
    assert len(rows) == 3 + 3 * 2 * 2
    assert rows[0]["prompt"] == "a photo of sks backpack"
    assert sha256_of(tmp_path / "step" / "table") == sha256_of(tmp_path / "again")


def test_component_refuses_an_unknown_family(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'swap'"):
        run(tmp_path / "table", {"families": ["swop"]})
    assert not (tmp_path / "table").exists()


def test_component_declares_its_contract():
    spec = perturb_prompts.component_spec
    assert set(spec.inputs) == {"data", "prompts", "seed", "code_version"}
    assert set(spec.outputs) == {"table"}
