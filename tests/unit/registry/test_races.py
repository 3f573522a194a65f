"""Processes that publish and promote at the same moment, over HTTP."""

import json
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from aelif.registry.promote import champion, number

NAME = "aelif-race"
WORKER = """
import json, sys, time
from pathlib import Path
from aelif.registry.promote import promote, register_once
from aelif.registry.retention import retain
from aelif.registry.runs import parent_run
from aelif.registry.store import run_with_store

tracking, barrier, me, job, against, size = json.loads(sys.argv[1])

def enter(client, config):
    run = parent_run(client, config, job)
    version = register_once(client, "aelif-race", f"{run.info.artifact_uri}/model/{16 * '0'}",
                            run_id=run.info.run_id, key=f"{job}:w", tags={"weights.sha256": job})
    promote(client, "aelif-race", version, reasons=["better"], against=against)
    retain(client, "aelif-race", keep=1)
    return str(version.version)

(Path(barrier) / me).touch()
while len(list(Path(barrier).iterdir())) < size:
    time.sleep(0.005)
try:
    print(run_with_store(tracking, enter, patience_s=60))
except RuntimeError as error:
    assert "champion" in str(error), error
    print("lost")
"""


def race(tracking, folder, jobs, *, against):
    """Let a process for each job publish at the same moment; return what each printed."""
    folder.mkdir()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps([tracking, str(folder), str(me), job, against, len(jobs)])],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for me, job in enumerate(jobs)
    ]  # fmt: skip
    outcomes = [worker.communicate(timeout=180) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(jobs), outcomes
    return [out.split()[-1] for out, _ in outcomes]


@pytest.mark.e2e
def test_races_over_http(server, tmp_path):
    """Four processes with the same candidate make one version; of two candidates one replaces the champion."""
    tracking = {"tracking_uri": server, "experiment": "aelif", "artifact_location": ""}
    client = MlflowClient(tracking_uri=server, registry_uri=server)

    first = race(tracking, tmp_path / "one", ["job-1"] * 4, against=None)
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    assert set(first) == {str(version.version)}
    held = number(champion(client, NAME))
    assert held == str(version.version)

    second = race(tracking, tmp_path / "two", ["job-2", "job-3"], against=held)
    winner = champion(client, NAME)
    assert winner is not None, "the alias points to a version that exists"
    assert str(winner.version) in second
    assert winner.tags["gate.against"] == winner.tags["champion.replaced"] == held
    keys = [one.tags["candidate.key"] for one in client.search_model_versions(f"name = '{NAME}'")]
    assert len(keys) == len(set(keys))
    assert number(winner) in {str(one.version) for one in client.search_model_versions(f"name = '{NAME}'")}
