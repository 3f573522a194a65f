import json
import subprocess
import sys

from mlflow import MlflowClient

from .small_run import local_tracking

WORKER = """
import json, sys, time
from pathlib import Path
from aelif.registry.promote import register_once
from aelif.registry.runs import start_or_resume
from aelif.registry.store import run_with_store
from aelif.registry.tracking import open_parent

tracking, barrier, me = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
(barrier / me).touch()
while len(list(barrier.iterdir())) < 2:
    time.sleep(0.005)
run_id = open_parent(tracking, f"job-{me}", settings={"a": 1}, trials=["baseline/seed=0"], code_version="c")

def register(client, config):
    source = client.get_run(run_id).info.artifact_uri + "/model"
    return register_once(client, "m", source, run_id=run_id, key="job:w", tags={})

for _ in range(3):
    version = run_with_store(tracking, register, patience_s=60)
print(version.version)
"""


def test_two_processes_share_a_store_from_nothing(tmp_path):
    tracking = local_tracking(tmp_path / "outputs")
    barrier = tmp_path / "barrier"
    barrier.mkdir()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(tracking), str(barrier), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outcomes = [worker.communicate(timeout=120) for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0], outcomes
    assert [out.strip() for out, _ in outcomes] == ["1", "1"]
    client = MlflowClient(tracking_uri=tracking["tracking_uri"])
    assert sorted(experiment.name for experiment in client.search_experiments()) == ["Default", "aelif"]
    assert len(client.search_runs(["1"])) == 4
    assert [str(version.version) for version in client.search_model_versions("name = 'm'")] == ["1"]
