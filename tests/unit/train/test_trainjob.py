"""The TrainJob as it arrives at the API server, and what is refused before there is one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from tests.manifests.definitions import published
from tests.unit.train.trainer_api import REPORT, ROOT, STEP_POD, Cluster, finish

from aelif.config import ClusterConfig
from aelif.train import trainjob
from aelif_pipelines import contract

EIGHT = ClusterConfig(
    nodes=2, accelerators=4, accelerator="amd.com/gpu", cpu="16", memory="128Gi", node_selector=("pool=a100",),
    tolerations=("gpu:NoSchedule",),
)  # fmt: skip
CRD_FOLDER = os.environ.get("AELIF_CRDS", "")


def job_of(on_nodes, api: Cluster, /, **changes: Any) -> dict[str, Any]:
    api.on_get = lambda: finish(api)
    assert on_nodes(**changes) == REPORT
    return api.made[-1]


def test_the_train_job_is_what_trainer_takes(on_nodes, cluster: Cluster):
    body = job_of(on_nodes, cluster, cluster=EIGHT)
    assert TrainerV1alpha1TrainJob.from_dict(body).to_dict() == body
    assert body["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "aelif", "team": "shop", "kueue.x-k8s.io/queue-name": "aelif",
    }  # fmt: skip
    assert body["metadata"]["annotations"] == {"aelif/run": "run-1", "aelif/trial": "aelif_mask:0.3/seed=1"}
    spec = body["spec"]
    assert spec["runtimeRef"] == {"name": "torch-distributed", "kind": "ClusterTrainingRuntime"}
    assert spec["activeDeadlineSeconds"] == 48 * 3600
    trainer = spec["trainer"]
    assert (trainer["image"], trainer["numNodes"]) == (os.environ["AELIF_IMAGE"], 2)
    amounts = {"cpu": "16", "memory": "128Gi", "amd.com/gpu": 4}
    assert trainer["resourcesPerNode"] == {"limits": amounts, "requests": amounts}
    assert trainer["command"][:-1] == ["torchrun", "--nproc-per-node=4", "-m", "aelif.train.launch"]
    assert not any("SECRET" in item["name"] or "TOKEN" in item["name"] for item in trainer["env"])


@pytest.mark.skipif(not CRD_FOLDER, reason="AELIF_CRDS names no folder of published CustomResourceDefinitions")
def test_the_train_job_fits_the_published_definition(on_nodes, cluster: Cluster):
    schema = published(CRD_FOLDER).get("trainer.kubeflow.org/v1alpha1/TrainJob")
    if schema is None:
        pytest.skip(f"{CRD_FOLDER} has no definition of TrainJob")
    body = job_of(on_nodes, cluster, cluster=EIGHT)
    assert len(body["spec"]) == 4
    jsonschema.validate({**body, "metadata": {}}, schema)


def test_the_nodes_pods_hold_to_pod_security_and_see_the_volume(on_nodes, cluster: Cluster, volume: Path):
    (patch,) = job_of(on_nodes, cluster, cluster=EIGHT)["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template = job["template"]["spec"]["template"]
    assert template["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "aelif", "team": "shop", "sidecar.istio.io/inject": "false",
    }  # fmt: skip
    pod, (container,) = template["spec"], template["spec"]["containers"]
    assert (job["name"], container["name"]) == ("node", "node")
    assert pod["serviceAccountName"] == "aelif-trainer-nodes"
    assert pod["imagePullSecrets"] == STEP_POD["spec"]["imagePullSecrets"]
    assert pod["nodeSelector"] == {"pool": "a100"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert {security[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {contract.USER_ID}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    volumes = {item["name"]: item for item in pod["volumes"]}
    mounts = {item["mountPath"]: volumes[item["name"]] for item in container["volumeMounts"]}
    assert mounts[str(volume)]["persistentVolumeClaim"] == {"claimName": contract.CHECKPOINTS}
    assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
    assert mounts["/tmp"]["emptyDir"] == {}


def test_names_are_those_of_the_manifests():
    assert trainjob.CLAIM == contract.CHECKPOINTS
    assert trainjob.QUEUE_LABEL == contract.QUEUE_LABEL
    documents = yaml.safe_load_all((ROOT / "manifests/components/trainer/rights.yaml").read_text())
    accounts = [item for item in documents if item["kind"] == "ServiceAccount"]
    assert [(item["metadata"]["name"], item["automountServiceAccountToken"]) for item in accounts] == [
        (trainjob.ACCOUNT, False)
    ]


def test_without_accelerators_one_process_runs_on_each_node(on_nodes, cluster: Cluster):
    trainer = job_of(on_nodes, cluster, cluster=ClusterConfig(nodes=3, accelerators=0))["spec"]["trainer"]
    assert trainer["command"][1] == "--nproc-per-node=1"
    assert set(trainer["resourcesPerNode"]["limits"]) == {"cpu", "memory"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint_dir": None}, r"checkpoint_root = '': training on 2 nodes needs a folder below .*volume"),
        ({"checkpoint_dir": Path("/elsewhere")}, "checkpoint_root = '/elsewhere': training on 2 nodes"),
        ({"cluster": ClusterConfig(nodes=2, runtime="x")}, r"cluster\.runtime = 'x': the cluster has no such runtime"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_copied(
    on_nodes, cluster: Cluster, volume: Path, changes, words
):
    with pytest.raises(ValueError, match=words):
        on_nodes(**changes)
    assert cluster.made == []
    assert not volume.exists()


def test_the_image_must_be_known(on_nodes, cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AELIF_IMAGE")
    with pytest.raises(ValueError, match=r"AELIF_IMAGE = '': the nodes run this step's image"):
        on_nodes()
    assert cluster.used == [("", "configmaps", "get")]


def test_missing_rights_are_named(on_nodes, cluster: Cluster):
    cluster.answers[("trainingruntimes/torch-distributed", "get")] = 403
    cluster.answers[("trainingruntimes", "get")] = 403
    with pytest.raises(ValueError, match="this account may not look it up; add manifests/components/trainer"):
        on_nodes()


def test_outside_of_a_cluster_the_setting_is_named(on_nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"cluster\.nodes = 2: no Kubernetes here .* give 1 elsewhere"):
        on_nodes(client=None)


def test_a_refused_job_is_told_in_the_servers_words_and_leaves_nothing(on_nodes, cluster: Cluster, volume: Path):
    cluster.answers[("trainjobs", "create")] = 422
    with pytest.raises(RuntimeError, match=r"TrainJob aelif-\w+-\w+ was refused: .*no"):
        on_nodes()
    assert not list(volume.rglob("*json"))


def test_a_trainer_that_drops_the_patches_is_too_old(on_nodes, cluster: Cluster):
    cluster.dropped = ("runtimePatches",)
    with pytest.raises(RuntimeError, match=r"knows no runtimePatches; upgrade it to 2\.2 or newer"):
        on_nodes()
    assert cluster.jobs == {}
