"""Uploads through a real S3 protocol that refuses: moto's server, behind a front that answers instead of it at will."""

import json
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from aelif.registry.store import TrackingError
from aelif.registry.upload import upload_folder

BUCKET = "mlflow"


class Front:
    """Answers PUT requests itself as long as it is told to, and counts them."""

    def __init__(self):
        self.behind = DomainDispatcherApplication(create_backend_app)
        self.refusals: list[tuple[int, str]] = []
        self.forever: tuple[int, str] | None = None
        self.writes = 0

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].count("/") > 1:
            self.writes += 1
            answer = self.forever or (self.refusals.pop(0) if self.refusals else None)
            if answer:
                status, code = answer
                body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code} on purpose</Message></Error>"
                return Response(body, status=status, mimetype="application/xml")(environ, start_response)
        return self.behind(environ, start_response)


@pytest.fixture(scope="module")
def served():
    import threading

    front = Front()
    server = make_server("127.0.0.1", 0, front, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield front, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def front(served, monkeypatch, tmp_path):
    front, url = served
    front.refusals, front.forever, front.writes = [], None, 0
    for name, value in {
        "MLFLOW_S3_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1", "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
    front.writes = 0
    return front


@pytest.fixture
def run(client: MlflowClient, front):
    return client.create_run(client.create_experiment("in-s3", artifact_location=f"s3://{BUCKET}/runs"))


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"w" * 1000)
    (folder / "deep" / "card.json").write_text(json.dumps({"ü": 1}))
    return folder


def test_all_files_arrive(client, run, folder, tmp_path):
    uri = upload_folder(client, run.info.run_id, folder, "model/0123")
    assert uri == f"s3://{BUCKET}/runs/{run.info.run_id}/artifacts/model/0123"
    back = Path(client.download_artifacts(run.info.run_id, "model/0123", str(tmp_path)))
    assert (back / "weights.safetensors").read_bytes() == b"w" * 1000
    assert (back / "deep" / "card.json").read_text() == json.dumps({"ü": 1})


def test_a_store_that_is_busy_is_asked_again(client, run, folder, front):
    front.refusals = [(503, "SlowDown"), (503, "SlowDown"), (500, "InternalError")]
    upload_folder(client, run.info.run_id, folder, "model", delay_s=0.01)
    assert front.writes == 3 + 2
    assert {file.path for file in client.list_artifacts(run.info.run_id, "model")} == {
        "model/deep",
        "model/weights.safetensors",
    }


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (503, "SlowDown")])
def test_a_store_that_goes_on_refusing_is_told_and_the_copy_kept(client, run, folder, front, status, code):
    front.forever = (status, code)
    with pytest.raises(TrackingError) as failure:
        upload_folder(client, run.info.run_id, folder, "model", attempts=3, delay_s=0.01)
    message = str(failure.value)
    assert front.writes == 3
    for part in (f"s3://{BUCKET}/runs/", code, "after 3 attempts", "check its credentials", str(folder)):
        assert part in message
    assert "\n" not in message
    assert (folder / "weights.safetensors").read_bytes() == b"w" * 1000


def test_waits_grow(client, run, folder, front, monkeypatch):
    front.forever, waits = (503, "SlowDown"), []
    monkeypatch.setattr("aelif.registry.upload.time.sleep", waits.append)
    with pytest.raises(TrackingError):
        upload_folder(client, run.info.run_id, folder, "model")
    assert [wait for wait in waits if wait >= 1] == [1, 2, 4, 8]


def test_a_repetition_overwrites(client, run, folder, tmp_path):
    upload_folder(client, run.info.run_id, folder, "")
    (folder / "weights.safetensors").write_bytes(b"new")
    upload_folder(client, run.info.run_id, folder, "")
    back = client.download_artifacts(run.info.run_id, "weights.safetensors", str(tmp_path))
    assert Path(back).read_bytes() == b"new"


def test_a_run_that_is_gone_is_mlflows_to_tell(client, folder, front):
    with pytest.raises(MlflowException, match="not found"):
        upload_folder(client, "f" * 32, folder, "model")
    assert front.writes == 0


def test_a_temporary_folder_is_not_named(client, run, folder, front, tmp_path):
    front.forever = (403, "AccessDenied")
    with pytest.raises(TrackingError, match=r"the local copy is kept in /results$"):
        upload_folder(client, run.info.run_id, folder, "", attempts=1, kept=Path("/results"))
