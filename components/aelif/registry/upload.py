"""Files into MLflow's artifact store, with patience: object stores refuse at times, and recover."""

from __future__ import annotations

import time
from pathlib import Path

import requests
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from aelif.registry.store import TrackingError, is_passing

ATTEMPTS = 5
DELAY_S = 1.0
"""Before the second attempt; doubled before each further one."""

_REFUSALS = (Boto3Error, BotoCoreError, ClientError, requests.RequestException, ConnectionError, TimeoutError)
"""What S3 and a server's artifact proxy raise. Even a forbidden write is tried again: keys rotate, policies spread."""


def upload_folder(
    client: MlflowClient,
    run_id: str,
    folder: Path,
    artifact_path: str,
    *,
    attempts: int = ATTEMPTS,
    delay_s: float = DELAY_S,
    kept: Path | None = None,
) -> str:
    """Upload all files below `folder` to a run and return the URI of `artifact_path` there.

    A repetition overwrites. Each file has its own attempts: one that fails late does not send the
    gigabytes before it again.

    Args:
        client: of the store.
        run_id: whose artifacts they become.
        folder: what to upload; it stays.
        artifact_path: folder below the run's artifacts, "" for the top.
        attempts: per file.
        delay_s: seconds before the second attempt, doubled for each further one.
        kept: what to name as the local copy where `folder` is a temporary one.

    Raises:
        TrackingError: if a file cannot be written; names the store, the cause, the remedy and the local copy.
    """
    root = str(client.get_run(run_id).info.artifact_uri).rstrip("/")
    target = f"{root}/{artifact_path}".rstrip("/")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        below = "/".join(part for part in (artifact_path, *file.relative_to(folder).parent.parts) if part)
        try:
            _upload(client, run_id, file, below, attempts=attempts, delay_s=delay_s)
        except (*_REFUSALS, MlflowException) as error:
            if _is_final(error):
                raise
            cause = str(error).strip().partition("\n")[0]
            raise TrackingError(
                f"artifact store {target}: cannot write {file.name} after {attempts} attempts: {cause}; check its "
                f"credentials, permissions and space, then run the same command again; the local copy is kept in "
                f"{kept or folder}"
            ) from error
    return target


def _upload(
    client: MlflowClient, run_id: str, file: Path, artifact_path: str, *, attempts: int, delay_s: float
) -> None:
    """Upload one file, waiting longer after each refusal; raises the last one."""
    for attempt in range(1, attempts + 1):
        try:
            client.log_artifact(run_id, str(file), artifact_path or None)
            return
        except (*_REFUSALS, MlflowException) as error:
            if _is_final(error) or attempt == attempts:
                raise
        time.sleep(delay_s * 2 ** (attempt - 1))


def _is_final(error: Exception) -> bool:
    """Tell whether MLflow itself refused, such as for a run that is gone: `run_with_store` tells that."""
    return isinstance(error, MlflowException) and not is_passing(error)
