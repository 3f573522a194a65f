import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from aelif.config import DataConfig, RunConfig, Trial, to_dict
from aelif.registry.lineage import (
    evaluation_digest,
    flatten,
    shorten,
    summary_metrics,
    trial_metrics,
    weights_digest,
)

from .small_run import SUMMARY, score_rows


def test_settings_become_flat_parameters():
    params, tags = flatten({"a": {"b": 300.0, "c": {"d": 0.5}}, "e": [1.0, "x"], "f": None, "g/h?": True}, limit=50)
    assert params == {"a.b": "300", "a.c.d": "0.5", "e": "1, x", "f": "none", "g_h_": "true"}
    assert tags == {}


def test_a_long_value_is_cut_and_told_by_its_digest():
    params, tags = flatten({"a": {"b": "x" * 200}}, limit=100)
    assert len(params["a.b"]) == 100
    assert tags == {"params.a.b.sha256": hashlib.sha256(json.dumps("x" * 200).encode()).hexdigest()}


def test_json_in_between_changes_no_parameter():
    data = DataConfig(instance_images="d", instance_prompt="a photo of sks dog", class_prompt="a photo of a dog")
    settings = to_dict(RunConfig(data=data))
    floats = json.loads(json.dumps(settings), parse_int=float)
    assert flatten(settings, limit=6000) == flatten(floats, limit=6000)


@given(st.text(), st.integers(1, 20))
def test_short_texts_stay_and_long_ones_fit(text, limit):
    cut = shorten(text, limit=limit)
    assert len(cut) <= limit
    assert cut == text or cut[:-1] == text[: limit - 1]


def test_the_summary_becomes_metrics_without_the_undefined():
    metrics = summary_metrics(SUMMARY)
    assert metrics["aelif_mask/perturbed"] == 0.85
    assert metrics["aelif_mask/perturbed/low"] == 0.75
    assert metrics["aelif_mask/families/paper/distance/high"] == 1.0
    assert metrics["noise_floor"] == 0.3
    assert not [name for name in metrics if "excess" in name or "seed" in name or "schema" in name]


def test_a_trials_metrics_are_means_over_its_prompts():
    rows = score_rows()
    rows[1]["value"] = float("nan")
    assert trial_metrics(rows, Trial.parse("baseline/seed=0")) == {"clean/w1": 0.5, "perturbed/w1": 0.5}
    assert trial_metrics(rows, Trial.parse("aelif_mask:0.3/seed=1")) == {
        "clean/w1": 0.5,
        "perturbed/w1": pytest.approx((0.8 + 0.5) / 2),
    }


def test_the_digest_of_one_file_is_its_sha256(tmp_path):
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    (tmp_path / "aelif.json").write_text("{}")
    assert weights_digest(tmp_path) == hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()


def test_the_digest_of_several_files_depends_on_each(tmp_path):
    for name in ("a", "b"):
        save_file({"w": np.zeros(3, np.float32)}, tmp_path / f"{name}.safetensors")
    before = weights_digest(tmp_path)
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "b.safetensors")
    assert weights_digest(tmp_path) != before


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no \.safetensors file"):
        weights_digest(tmp_path)


def test_the_evaluation_is_its_prompts_not_its_scores():
    rows = score_rows()
    assert evaluation_digest(rows) == evaluation_digest([{**row, "value": 0.0} for row in reversed(rows)])
    assert evaluation_digest(rows) != evaluation_digest([{**row, "prompt": "another"} for row in rows])
