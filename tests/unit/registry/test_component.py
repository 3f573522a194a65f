import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import pytest
from kfp import dsl, local

from aelif.registry.component import close_run, open_run, register_champion
from aelif.registry.promote import champion
from aelif.registry.tracking import close_by_status

from .small_run import SETTINGS, TRIALS, write_results


def test_importing_the_components_does_not_import_mlflow():
    code = "import aelif.registry.component, sys; assert 'mlflow' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_open_register_close(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    at = {
        name: SimpleNamespace(path=str(getattr(results, name)))
        for name in ("summary", "verdict", "table", "page", "photos")
    }
    models = [SimpleNamespace(path=str(results.models[trial])) for trial in TRIALS]

    run_id = open_run.python_func(tracking, "job-1", SETTINGS, list(TRIALS), "c0de")
    version = register_champion.python_func(
        tracking, "job-1", **at, models=models, trials=list(TRIALS), gate={"model_name": "m"}, code_version="c0de"
    )
    status = SimpleNamespace(state="SUCCEEDED", error_message=None)
    close_run.python_func(tracking, "job-1", "c0de", status)

    assert version == "m/1"
    assert str(champion(client, "m").version) == "1"
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_store_that_fails_at_the_end_is_told_and_hides_nothing(tracking, capsys, monkeypatch):
    monkeypatch.setitem(close_by_status.__kwdefaults__, "patience_s", 0.2)
    holder = sqlite3.connect(tracking["tracking_uri"].removeprefix("sqlite:///"))
    holder.execute("BEGIN EXCLUSIVE")
    close_run.python_func(tracking, "job-1", "c0de", SimpleNamespace(state="FAILED", error_message="bad"))
    holder.close()
    assert "The run was not closed in MLflow: MLflow at" in capsys.readouterr().out


@dsl.component(base_image="test-python", install_kfp_package=False)
def fail(reason: str) -> None:
    """Fail."""
    raise ValueError(reason)


@dsl.pipeline(name="tracked")
def tracked(tracking: dict, settings: dict, trials: list[str]):
    closing = close_run(tracking=tracking, run_key="job-1", code_version="c0de").set_caching_options(False)
    with dsl.ExitHandler(closing):
        opened = open_run(
            tracking=tracking, run_key="job-1", settings=settings, trials=trials, code_version="c0de"
        ).set_caching_options(False)
        fail(reason="no luck").after(opened)


def test_a_failing_pipeline_leaves_a_failed_run(tracking, client, tmp_path):
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "steps"))
    with pytest.raises(RuntimeError):
        tracked(tracking=tracking, settings={"seeds": [0, 1]}, trials=list(TRIALS))
    runs = client.search_runs(["1"], "tags.`kfp.run_id` = 'job-1'")
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FAILED"}
