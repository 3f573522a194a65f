"""How a step follows its TrainJob, and what it makes of jobs, nodes and API servers that fail."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.manifests.rights import RIGHTS
from tests.unit.train.conftest import Listening
from tests.unit.train.trainer_api import REPORT, Cluster, Node, at_each_look, finish, work_of

from aelif.artifacts import write_json
from aelif.train import following, nodes, trainjob
from aelif.train.devices import check_same_start
from aelif.train.exchange import write_error
from aelif.train.launch import _Followed, main


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "POLL_S", 0.01)
    monkeypatch.setattr(nodes, "_ARRIVAL_S", 0.01)


def test_it_uses_the_rights_that_it_is_given_and_no_others(on_nodes, cluster: Cluster, monkeypatch, capsys):
    monkeypatch.setattr(following, "_WAITING_S", 0.0)
    cluster.events = [{
        "metadata": {"name": "e", "namespace": "aelif-runs"}, "reason": "FailedScheduling", "message": "no GPU is free",
        "firstTimestamp": "2026-01-01T00:00:00Z", "involvedObject": {"kind": "TrainJob", "name": "?"},
    }]  # fmt: skip
    pending, running = [Node(), Node()], [Node(phase="Running"), Node(phase="Running")]

    def wait() -> None:
        cluster.nodes = pending
        cluster.events[0]["involvedObject"]["name"] = cluster.made[-1]["metadata"]["name"]

    def run() -> None:
        cluster.nodes = running

    at_each_look(cluster, wait, wait, wait, run, run, lambda: finish(cluster))
    listening = Listening()
    on_nodes(listening)
    told = [event for event in listening.events if event["event"] in ("trainjob", "waiting")]
    assert [event.get("state", event.get("why")) for event in told] == [
        "Created, node-0 Pending, node-1 Pending", "FailedScheduling: no GPU is free",
        "Running, node-0 Running, node-1 Running", "Complete, node-0 Succeeded, node-1 Succeeded",
    ]  # fmt: skip
    assert "[node-0] a line of the log" in capsys.readouterr().out
    given = {
        (right.group, right.resource, verb) for right in RIGHTS for verb in right.verbs
        if "trainer" in right.group or right.resource in ("pods", "pods/log", "events")
    }  # fmt: skip
    version = ("", "configmaps", "get")  # of Trainer, which lets everybody read it; the SDK asks, and goes on without
    assert set(cluster.used) == given | {version}


def test_a_job_that_fails_without_a_word_names_its_nodes(on_nodes, cluster: Cluster, volume: Path):
    cluster.on_get = lambda: setattr(cluster, "nodes", [Node(phase="Running"), Node(phase="Failed")])
    with pytest.raises(RuntimeError, match="Failed, node-0 Running, node-1 Failed; no process said why; if it was for"):
        on_nodes()
    assert cluster.jobs == {}
    assert not list(volume.rglob("trainjob*"))


def test_of_several_errors_the_first_counts(on_nodes, cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        cluster.nodes = [Node(phase="Running"), Node(phase="Running")]
        write_error(work_of(cluster), 3, MemoryError("out of memory at batch_size = 4; this fits: batch_size = 2"))
        write_error(work_of(cluster), 0, RuntimeError("connection closed by peer"))

    at_each_look(cluster, lambda: None, fail)
    with pytest.raises(MemoryError, match="this fits: batch_size = 2"):
        on_nodes()
    assert cluster.jobs == {}


def test_a_failed_job_of_an_earlier_attempt_is_replaced(on_nodes, cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    cluster.on_get = lambda: setattr(cluster, "nodes", [Node(phase="Failed"), Node(phase="Failed")])
    with monkeypatch.context() as lost:  # the first attempt ends without taking anything away, as a killed one does
        lost.setattr(nodes, "_take_away", lambda *_: None)
        lost.setattr("aelif.train.nodes.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(RuntimeError, match="no process said why"):
            on_nodes()
    (first,) = cluster.jobs
    at_each_look(cluster, lambda: None, lambda: None, lambda: finish(cluster))
    assert on_nodes() == REPORT
    assert [name for _, name, verb in cluster.used if verb == "create"] == ["trainjobs", "trainjobs"]
    assert cluster.made[1]["metadata"]["name"] != first
    assert cluster.jobs == {}


def test_an_api_server_that_is_away_for_a_while_stops_nothing(on_nodes, cluster: Cluster):
    def leave() -> None:
        cluster.answers[("trainjobs", "get")] = 503

    cluster.on_get = leave
    told: list[float] = []

    class Returning(Listening):
        def measure(self, points: Any) -> None:  # called at each look, whether the server answers or not
            told.append(0)
            if len(told) == 5:
                cluster.answers.clear()
                cluster.on_get = lambda: finish(cluster)

    assert on_nodes(Returning()) == REPORT
    assert len(told) > 5


def test_an_api_server_that_stays_away_ends_the_step(cluster: Cluster, volume: Path, tmp_path: Path):
    cluster.answers[("trainjobs", "get")] = 503
    follower = following.Follower(client=cluster.client(cluster.host), name="x", work=tmp_path, progress=Listening(),
                                  poll_s=0.01, away_s=0.05)  # fmt: skip
    with pytest.raises(RuntimeError, match=r"TrainJob x: the API server does not answer for 0\.05 s: \(503\)"):
        follower.follow()


def test_a_job_that_somebody_deletes_ends_the_step(on_nodes, cluster: Cluster):
    at_each_look(cluster, lambda: None, cluster.jobs.clear)
    with pytest.raises(RuntimeError, match="was deleted by somebody else"):
        on_nodes()


def test_a_volume_that_the_nodes_do_not_share_is_noticed(on_nodes, cluster: Cluster):
    cluster.nodes = [Node(phase="Succeeded"), Node(phase="Succeeded")]
    with pytest.raises(RuntimeError, match=r"ended without its report; is the volume the same one.*ReadWriteMany"):
        on_nodes()


def test_half_a_line_waits_for_its_other_half(cluster: Cluster, volume: Path, tmp_path: Path):
    listening = Listening()
    follower = following.Follower(client=cluster.client(cluster.host), name="x", work=tmp_path, progress=listening)
    events = tmp_path / trainjob.EVENTS
    said = '{"time": 1, "step": "train", "label": "x", "event": '
    events.write_text(f'{said}"progress", "done": 1}}\n{said}"progress", "done": 2}}\n{said[:9]}')
    follower._pass_on()
    follower._pass_on()
    with events.open("a") as file:
        file.write(f'{said[9:]}"warning", "message": "hm"}}\n')
    follower._pass_on()
    assert listening.events == [{"event": "progress", "done": 2}, {"event": "warning", "message": "hm"}]


def test_a_training_that_nobody_follows_ends(tmp_path: Path):
    sign = tmp_path / "followed"
    sign.touch()
    progress = _Followed("x", sign)
    progress.advance(1, 10, "steps")
    os.utime(sign, (0, sign.stat().st_mtime - 3600))
    with pytest.raises(RuntimeError, match="stopped after 2 steps: the step that started this training is gone for 60"):
        progress.advance(2, 10, "steps")
    with pytest.raises(RuntimeError, match="stopped before its first step"):
        _Followed("x", sign)


def test_an_error_is_written_only_where_somebody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_error(tmp_path / "gone", 0, ValueError("x"))
    assert not (tmp_path / "gone").exists()
    write_json(tmp_path / "arguments.json", {})
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(KeyError):
        main(tmp_path)


def test_processes_that_found_different_checkpoints_stop():
    def seen(*starts: int) -> object:
        return SimpleNamespace(num_processes=len(starts), device="cpu", gather=lambda _: torch.tensor(starts))

    check_same_start(4, seen(4, 4))
    with pytest.raises(
        RuntimeError, match=r"different checkpoints \(steps \[4, 0\]\); checkpoint_root must be one vol"
    ):
        check_same_start(4, seen(4, 0))
