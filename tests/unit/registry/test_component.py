import json
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from kfp import dsl, local

from aelif.registry.component import close_run, find_champion, open_run, register_model
from aelif.registry.promote import champion
from aelif.registry.tracking import close_by_status

from .small_run import SETTINGS, TRIALS, write_results


def test_importing_the_components_does_not_import_mlflow():
    code = "import aelif.registry.component, sys; assert 'mlflow' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


GATE = {"model_name": "m"}


def register(tracking, results, run_key="job-1", key="k"):
    names = ("summary", "verdict", "table", "prompts", "page", "photos", "base")
    at = {name: SimpleNamespace(path=str(getattr(results, name))) for name in names}
    folders = {
        kind: [SimpleNamespace(path=str(getattr(results, kind)[trial])) for trial in TRIALS]
        for kind in ("models", "images")
    }
    return register_model.python_func(
        tracking, run_key, key, **at, reference=at["photos"], **folders, trials=list(TRIALS),
        settings={**SETTINGS, "gate": GATE}, code_version="c0de",
    )  # fmt: skip


@pytest.fixture
def webhook(monkeypatch):
    """A server that keeps what is posted to it, and whose address is in the environment."""
    posted: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AELIF_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/secret")
    yield posted
    server.shutdown()
    server.server_close()


def test_open_register_close_and_tell(tracking, client, tmp_path, webhook):
    run_id = open_run.python_func(tracking, "job-1", SETTINGS, list(TRIALS), "c0de")
    version = register(tracking, write_results(tmp_path / "results"))
    close_run.python_func(tracking, "job-1", "c0de", SimpleNamespace(state="SUCCEEDED", error_message=None))

    assert version == "m/1"
    assert str(champion(client, "m").version) == "1"
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert "version 1 is champion" in run.data.tags["mlflow.note.content"]
    (notice,) = webhook
    assert "version 1 is champion" in notice["text"]
    assert (notice["model"], notice["version"], notice["trial"]) == ("m", "1", "aelif_mask:0.3/seed=1")


def test_people_find_a_run_by_its_name(tracking, client):
    settings = {**SETTINGS, "pipeline": "retrain", "command": "aelif run retrain"}
    run = client.get_run(open_run.python_func(tracking, "job-1", settings, [], "c0de"))
    assert run.info.run_name == "retrain: a photo of sks dog (job-1)"
    assert run.data.tags["mlflow.source.name"] == "aelif run retrain"
    again = open_run.python_func(tracking, "job-1", settings, [], "c0de")
    assert again == run.info.run_id


def test_a_notice_that_nobody_takes_fails_nothing(tracking, client, monkeypatch, capsys):
    monkeypatch.setenv("AELIF_WEBHOOK_URL", "ftp://nowhere/secret")
    open_run.python_func(tracking, "job-1", SETTINGS, [], "c0de")
    close_run.python_func(tracking, "job-1", "c0de", SimpleNamespace(state="SUCCEEDED", error_message=None))
    text = capsys.readouterr().out
    assert "nobody was notified" in text
    assert "secret" not in text


def test_the_champion_is_found_and_what_was_tried_is_known(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    at = {name: SimpleNamespace(path=str(getattr(results, name))) for name in ("photos", "base")}

    def find(run_key):
        return find_champion.python_func(
            tracking, run_key, **at, reference="", settings={**SETTINGS, "gate": GATE}, force=False, code_version=""
        )

    first = find("job-1")
    assert (first.due, first.champion) == (True, "")
    register(tracking, results, key=first.key)
    close_run.python_func(tracking, "job-1", "c0de", SimpleNamespace(state="SUCCEEDED", error_message=None))
    kept = {name: {"value": 0.5} for name in ("clean", "clip_t", "diversity")}  # the small run has no alignment
    client.set_model_version_tag("m", "1", "gate.figures", json.dumps(kept))
    again = find("job-2")
    assert (again.due, again.champion, again.key) == (False, "1", first.key)


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
