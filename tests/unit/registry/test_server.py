"""A whole life of a model against a real MLflow server."""

import mlflow.pyfunc
import pytest
from mlflow import MlflowClient

from aelif.config import GateConfig
from aelif.registry.models import download_model
from aelif.registry.promote import champion, number, rollback
from aelif.registry.publish import publish
from aelif.registry.store import TrackingError
from aelif.registry.tracking import close, open_parent

from .small_run import BEST, SETTINGS, TRIALS, write_results

NAME = "aelif-miniature"


@pytest.mark.e2e
def test_a_whole_life_over_http(server, tmp_path, monkeypatch):
    tracking = {"tracking_uri": server, "experiment": "team/dogs", "artifact_location": ""}
    client = MlflowClient(tracking_uri=server, registry_uri=server)

    for version, salt, against in (("1", 0.0, None), ("2", 0.5, "1")):
        results = write_results(tmp_path / f"results-{version}", salt=salt, against=against)
        for _ in range(2):  # every step twice, as a retried pod would
            open_parent(tracking, f"job-{version}", settings=SETTINGS, trials=TRIALS, code_version="c")
            gate = GateConfig(model_name=NAME)
            done = publish(tracking, f"job-{version}", results=results, gate=gate, settings=SETTINGS, key="k",
                           code_version="c")  # fmt: skip
            assert (done.version, done.outcome) == (version, "promoted")
            close(tracking, f"job-{version}", state="FINISHED", cause="")

    runs = client.search_runs([client.get_experiment_by_name("team/dogs").experiment_id])
    assert len(runs) == 8
    assert {run.info.status for run in runs} == {"FINISHED"}
    folder = download_model(f"models:/{NAME}@champion", tmp_path / "model", tracking_uri=server)
    weights = "pytorch_lora_weights.safetensors"
    assert (folder / weights).read_bytes() == (results.models[BEST] / weights).read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert "python_function" in mlflow.models.get_model_info(f"models:/{NAME}@champion").flavors
    rollback(client, NAME, expect="2")
    assert number(champion(client, NAME)) == "1"
    with pytest.raises(TrackingError, match="Changing param values"):
        open_parent(tracking, "job-1", settings={"train": {"steps": 1}}, trials=[], code_version="c")
