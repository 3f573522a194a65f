"""`aelif doctor --cluster` on what the dev overlay makes of a cluster, with a real MLflow and a real S3 protocol."""

import base64
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import requests
import yaml
from kubernetes_validate import validate
from tests.manifests.rendering import MANIFESTS, ROOT, needs_kubectl
from tests.pipelines.cluster_state import Pipelines, applied, node, use
from tests.pipelines.kube_server import KubeServer
from tests.pipelines.photos import ON_S3
from tests.servers import object_store, serving
from typer.testing import CliRunner

from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.cli import app
from aelif_pipelines.doctor_cluster.examine import Question, examine_cluster
from aelif_pipelines.doctor_cluster.network import STEP
from aelif_pipelines.doctor_cluster.platform import MIN_KUBERNETES, MIN_PIPELINES
from aelif_pipelines.settings import load_config

pytestmark = needs_kubectl
GUIDE = (ROOT / "docs" / "operations.md").read_text()
DEV = MANIFESTS / "overlays" / "dev" / "run.yaml"
NAME, PASSWORD = "aelif", "example-value-MLFLOW_TRACKING_PASSWORD"
"""The runs' account, as the rendering of the overlay has it."""


def start_mlflow(folder: Path, *extra: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", *extra]  # fmt: skip
    environment = {
        **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 16,
        "MLFLOW_AUTH_ADMIN_USERNAME": NAME, "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
    }  # fmt: skip
    uri = f"http://127.0.0.1:{port}"
    with serving(command, folder, uri=uri, env=environment, patience_s=300):
        yield uri


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory) -> Iterator[str]:
    """MLflow with accounts."""
    pytest.importorskip("flask_wtf", reason="the extra `server` is not installed: MLflow's accounts need it")
    yield from start_mlflow(tmp_path_factory.mktemp("mlflow"), "--app-name", "basic-auth")


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """An S3 server that lets every account in, until a test says otherwise."""
    with object_store() as uri:
        yield uri


def s3(store: str):
    return boto3.client("s3", endpoint_url=store, aws_access_key_id="a", aws_secret_access_key="b",
                        region_name="us-east-1")  # fmt: skip


@pytest.fixture
def look(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def look(server: KubeServer, **question) -> dict[str, Finding]:
        with server, Pipelines() as kfp:
            use(monkeypatch, server.kubeconfig(tmp_path / "config"))
            config = load_config("quickstart", file=DEV, changes=question.pop("changes", {}))
            findings = examine_cluster(Question(config=config, host=kfp.url, **question))
        return {finding.subject: finding for finding in findings}

    return look


def put(server: KubeServer, name: str, **values: str) -> None:
    """Change a Secret or ConfigMap of the runs."""
    secret = ("secrets", "kubeflow", name) in server.objects
    data = server.find("secrets" if secret else "configmaps", name)["data"]
    data.update({key: base64.b64encode(value.encode()).decode() if secret else value for key, value in values.items()})


def test_a_cluster_with_the_dev_overlay_has_what_a_run_needs(look, mlflow, store):
    found = look(applied("dev", node("one")), tracking_uri=mlflow, endpoint_url=store)
    assert not [finding for finding in found.values() if not (finding.ok and finding.looked)]
    assert found["MLflow"].found.startswith("3."), "the version is shown to accounts alone"
    assert found["MLflow's account"].found == "that of Secret aelif-mlflow is accepted: aelif"
    assert found["object store, account"].found.startswith("accepted by")
    assert len(found) >= 24


def test_command_prints_findings_and_its_status_tells_faults(tmp_path, monkeypatch, mlflow, store):
    server = applied("dev", node("one"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    with server, Pipelines() as kfp:
        use(monkeypatch, server.kubeconfig(tmp_path / "config"))
        command = ["doctor", "--cluster", "--config", str(DEV), "--host", kfp.url]
        known = CliRunner().invoke(app, [*command, "--tracking-uri", mlflow, "--endpoint-url", store])
        server.remove("secrets", "aelif-s3")
        fault = CliRunner().invoke(app, command)
    assert known.exit_code == 0, known.output
    assert "✓ Kubernetes  v1.33.4" in known.output
    assert "✗" not in known.output
    assert "?" not in known.output
    assert fault.exit_code == 1
    assert "✗ Secret aelif-s3  not in kubeflow" in " ".join(fault.output.split(" "))
    assert "? object store" in fault.output


def test_guide_names_the_versions_that_are_looked_for():
    assert f"| Kubernetes | {MIN_KUBERNETES[0]}.{MIN_KUBERNETES[1]} or newer" in GUIDE
    assert f"| Kubeflow Pipelines | {MIN_PIPELINES[0]}.{MIN_PIPELINES[1]} or newer" in GUIDE


def test_job_of_the_guide_looks_from_where_steps_are():
    (text,) = re.findall(r"^apiVersion: batch/v1\n.*?(?=^END$)", GUIDE, flags=re.MULTILINE | re.DOTALL)
    job = yaml.safe_load(text)
    validate(job, desired_version="1.31", strict=True)
    pod = job["spec"]["template"]
    assert pod["metadata"]["labels"] == STEP
    assert pod["spec"]["serviceAccountName"] == contract.RUNNER
    assert pod["spec"]["securityContext"]["runAsUser"] == contract.USER_ID
    (container,) = pod["spec"]["containers"]
    sources = {(kind.removesuffix("Ref"), ref["name"]) for item in container["envFrom"] for kind, ref in item.items()}
    assert sources == {(source.kind[0].lower() + source.kind[1:], source.name) for source in contract.RUNS}
    assert container["command"][:3] == ["aelif", "doctor", "--cluster"]


# ── MLflow ──


def test_mlflow_is_asked_through_the_kubernetes_api(look, mlflow):
    server = applied("dev", node("one"))
    server.backends["aelif/mlflow:5000"] = mlflow
    found = look(server)
    assert found["MLflow"].ok
    assert "in good health at http://mlflow.aelif.svc:5000" in found["MLflow"].found
    assert not found["MLflow's account"].looked
    assert "kubectl -n aelif port-forward service/mlflow 5000:5000" in found["MLflow's account"].remedy


def test_mlflow_that_may_not_be_asked_so(look):
    server = applied("dev", node("one"))
    server.forbidden.add(("get", "services/proxy"))
    found = look(server)["MLflow"]
    assert found.ok
    assert not found.looked
    assert "port-forward service/mlflow" in found.remedy


@pytest.mark.parametrize("gone", [True, False])
def test_mlflow_that_is_not_there(look, gone):
    server = applied("dev", node("one"))
    if gone:
        server.remove("services", "mlflow", "aelif")
    found = look(server)["MLflow"]
    assert not found.ok
    assert ("no such service" if gone else "no pod of it is ready") in found.found
    assert "kubectl -n aelif get pods,services" in found.remedy


def test_mlflow_at_a_wrong_address(look, store):
    server = applied("dev", node("one"))
    put(server, "aelif", MLFLOW_TRACKING_URI="mlflow:5000")
    found = look(server)["MLflow"]
    assert not found.ok
    assert "no http(s) address" in found.found
    assert "http(s)://" in found.remedy
    put(server, "aelif", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    found = look(server)["MLflow"]
    assert not found.ok
    assert "no answer at http://127.0.0.1:9" in found.found
    assert "MLFLOW_TRACKING_URI" in found.remedy
    put(server, "aelif", MLFLOW_TRACKING_URI=store)
    found = look(server)["MLflow"]
    assert not found.ok
    assert "/health answers 404" in found.found
    assert "is it MLflow" in found.remedy


def test_account_that_mlflow_refuses(look, mlflow):
    server = applied("dev", node("one"))
    put(server, "aelif-mlflow", MLFLOW_TRACKING_PASSWORD="wrong")
    found = look(server, tracking_uri=mlflow)["MLflow's account"]
    assert not found.ok
    assert "(aelif) is refused: 401" in found.found
    assert "job/mlflow-user" in found.remedy
    put(server, "aelif-mlflow", MLFLOW_TRACKING_PASSWORD="", MLFLOW_TRACKING_USERNAME="")
    found = look(server, tracking_uri=mlflow)
    assert found["Secret aelif-mlflow"].ok, "MLflow may ask no account"
    assert not found["MLflow's account"].ok
    assert "runs/secrets/mlflow.env" in found["MLflow's account"].remedy
    server.forbidden.add(("get", "secrets"))
    found = look(server, tracking_uri=mlflow)["MLflow's account"]
    assert found.ok
    assert not found.looked
    assert "is not known" in found.found


def test_mlflow_that_asks_no_account_or_does_not_know_its_own_name(look, tmp_path):
    for uri in start_mlflow(tmp_path, "--allowed-hosts", "localhost:*"):
        server = applied("dev", node("one"))
        refused = look(server, tracking_uri=uri)
        assert refused["MLflow"].ok, "its health and version are for everybody"
        assert not refused["MLflow's account"].ok
        assert "--allowed-hosts" in refused["MLflow's account"].remedy
        server.backends["aelif/mlflow:5000"] = uri
        through_api = look(server)["MLflow's account"]
        assert through_api.ok
        assert not through_api.looked
        assert "answers 403" in through_api.found
        free = look(server, tracking_uri=uri.replace("127.0.0.1", "localhost"))["MLflow's account"]
        assert free.ok
        assert free.found == "none is asked for, though the Secret has one"


# ── Buckets ──


def test_store_in_the_cluster_is_not_reached_from_here(look):
    found = look(applied("dev", node("one")))["object store"]
    assert found.ok
    assert not found.looked
    assert "kubectl -n aelif port-forward service/s3 8333:8333, then --endpoint-url" in found.remedy


def test_buckets_that_a_run_names(look, store):
    server = applied("dev", node("one"))
    s3(store).create_bucket(Bucket="photos")
    s3(store).put_object(Bucket="photos", Key="dog/1.png", Body=b"")
    put(server, "aelif", AELIF_ARTIFACT_LOCATION="s3://artifacts/mlflow")
    changes = {**ON_S3, "data.instance_images": "s3://photos/dog", "base_model": "s3://photos/none"}
    found = look(server, endpoint_url=store, destination="s3://photos/results", changes=changes)
    assert found["object store, photos"].found == "s3://photos/dog can be listed"
    assert "that it may be written was not tried" in found["object store, results"].found
    missing = found["object store, artifacts"]
    assert not missing.ok
    assert "NoSuchBucket" in missing.found
    assert "job/s3-bucket" in missing.remedy
    empty = found["object store, base model"]
    assert not empty.ok
    assert "nothing below s3://photos/none" in empty.found
    assert "aws s3 ls" in empty.remedy


def test_store_that_does_not_answer(look):
    found = look(applied("dev", node("one")), endpoint_url="http://127.0.0.1:9")["object store, account"]
    assert not found.ok
    assert "no answer" in found.found
    assert "AWS_ENDPOINT_URL" in found.remedy


def test_secret_of_the_store_that_may_not_be_read(look, store):
    server = applied("dev", node("one"))
    server.forbidden.add(("get", "secrets"))
    found = look(server, endpoint_url=store)["object store"]
    assert found.ok
    assert not found.looked
    assert "AWS_ACCESS_KEY_ID" in found.found


def test_accounts_that_the_store_refuses(look, store):
    """An account that may list nothing is let in; a wrong name or secret is not."""
    own = {"endpoint_url": store, "region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    iam = boto3.client("iam", **own)
    iam.create_user(UserName="runs")
    key = iam.create_access_key(UserName="runs")["AccessKey"]
    s3(store).create_bucket(Bucket="closed")
    server = applied("dev", node("one"))
    requests.post(f"{store}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    try:
        unknown = look(server, endpoint_url=store)["object store, account"]
        put(server, "aelif-s3", AWS_ACCESS_KEY_ID=key["AccessKeyId"], AWS_SECRET_ACCESS_KEY="wrong")
        wrong = look(server, endpoint_url=store)["object store, account"]
        put(server, "aelif-s3", AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"])
        known = look(server, endpoint_url=store)["object store, account"]
        closed = look(server, endpoint_url=store, destination="s3://closed/results")["object store, results"]
    finally:
        requests.post(f"{store}/moto-api/reset-auth", data=json.dumps(10**9).encode(), timeout=10)
    assert not unknown.ok
    assert "InvalidAccessKeyId" in unknown.found
    assert "runs/secrets/s3.env" in unknown.remedy
    assert not wrong.ok
    assert "SignatureDoesNotMatch" in wrong.found
    assert "AWS_SECRET_ACCESS_KEY" in wrong.remedy
    assert known.ok
    assert "it may not list buckets, and need not" in known.found
    assert not closed.ok
    assert "AccessDenied" in closed.found
    assert "let the account" in closed.remedy
