"""A Kubeflow Pipelines server: how to reach it, and what a pipeline may be given there."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import kfp
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from aelif.config import RunConfig, TrackingConfig, require, to_dict
from aelif.storage import BUILTIN
from aelif_pipelines.arguments import pipeline_arguments
from aelif_pipelines.contract import CHECKPOINT_FOLDER
from aelif_pipelines.errors import CommandError

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PORT_FORWARD = "kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888, then --host http://127.0.0.1:8888"
_REMEDIES = {
    401: "it wants a login: give --token-file, or KF_PIPELINES_SA_TOKEN_PATH",
    403: "these credentials may not do this; ask for kubeflow-edit in the namespace, or give another --namespace",
}


class ClusterError(CommandError):
    """The server could not be reached or refused; one line that names it, the cause and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A server that answered, and the namespace whose schedules are meant."""

    client: Any
    """A `kfp.Client`; its generated APIs (`client.recurring_runs` …) say all that the server can do."""
    host: str
    namespace: str | None
    """None on a server for a single user, which refuses any."""


class _Client(kfp.Client):
    """The SDK's client, which says at once that nobody answers, and leaves no file in the user's home."""

    def _load_config(self, *args: Any, **kwargs: Any) -> Any:
        config = super()._load_config(*args, **kwargs)
        config.retries = 1  # urllib3 would try four times, and wait its timeout each time
        _keep_host(config)
        return config

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        return self._healthz_api.healthz_service_get_healthz(_request_timeout=(5, 15))

    def set_user_namespace(self, namespace: str) -> None:
        self._context_setting["namespace"] = namespace.strip()


def connect(*, host: str = "", namespace: str = "", token_file: str = "", context: str = "") -> Cluster:
    """Return the server that answers at `host`; inside a cluster, or with a kubeconfig, none need be given.

    Args:
        host: address of the API server or of a port-forward; "" is ``KF_PIPELINES_ENDPOINT``, the service
            inside the cluster, or the kubeconfig's proxy, in this order.
        namespace: of the schedules, on a server for many users; "" is the pod's own.
        token_file: file with a token, read again before each request; "" is ``KF_PIPELINES_SA_TOKEN_PATH``.
        context: of the kubeconfig, where that is taken; "" is its current one.

    Raises:
        ValueError: if the token's file is missing, or a namespace is needed and none is known.
        ClusterError: if nobody answers, or the answer is a refusal.
    """
    path = token_file or os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", "")
    if path and not Path(path).is_file():
        raise ValueError(f"token-file = {path!r}: no such file; give one that holds a token for the KFP API")
    place = host or os.environ.get("KF_PIPELINES_ENDPOINT", "") or "the cluster's own address"
    if place.startswith("127.0.0.1") or place.startswith("localhost"):
        host = place = f"http://{place}"  # the SDK would take https, which a port-forward does not speak
    credentials = ServiceAccountTokenVolumeCredentials(path) if path else None
    with clear_errors(place), warnings.catch_warnings(), redirect_stdout(StringIO()):  # it prints its attempts
        warnings.simplefilter("ignore", FutureWarning)
        client = _Client(host=host or None, credentials=credentials, kube_context=context or None)
        multi_user = _check_answer(client, place)
    if multi_user and not namespace and _POD_NAMESPACE.is_file():
        namespace = _POD_NAMESPACE.read_text().strip()
    if multi_user and not namespace:
        raise ValueError(f"namespace: the server at {place} has many users; give --namespace")
    return Cluster(client=client, host=place, namespace=namespace if multi_user else None)


def _keep_host(config: Any) -> None:
    """Keep the path to the service in the address: a kubeconfig's token is renewed by a hook that sets both anew."""
    host, refresh = config.host, config.refresh_api_key_hook
    if refresh is None:
        return

    def renew(same: Any) -> None:
        refresh(same)
        same.host, same.refresh_api_key_hook = host, renew

    config.refresh_api_key_hook = renew


def _check_answer(client: _Client, place: str) -> bool:
    """Return whether the server has many users, once it is certain that it speaks the API."""
    health = client.get_kfp_healthz()
    kind = client._healthz_api.api_client.last_response.getheader("content-type") or ""
    if "json" not in kind:  # the client would take a login page for an empty answer
        raise ClusterError(f"Kubeflow Pipelines at {place}: it answered with a page, perhaps a login; {_REMEDIES[401]}")
    return bool(health.multi_user)


@contextmanager
def clear_errors(place: str) -> Iterator[None]:
    """Turn what the client raises into one line with the remedy."""
    try:
        yield
    except ApiException as error:
        remedy = _REMEDIES.get(error.status or 0, "")
        if error.status == 404 and not remedy:
            remedy = "check that the address is that of the KFP API (it ends before /apis)"
        said = _message(error)
        raise ClusterError("; ".join(filter(None, (f"Kubeflow Pipelines at {place}: {said}", remedy)))) from error
    except HTTPError as error:
        raise ClusterError(
            f"Kubeflow Pipelines at {place}: no answer; check the address, or {_PORT_FORWARD}"
        ) from error


def _message(error: ApiException) -> str:
    """Return the server's own words in one line, else its status."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body or ""
    try:
        said = json.loads(body)
    except ValueError:  # a proxy's page
        said = {}
    words = said.get("error_message") or said.get("message") or said.get("error") if isinstance(said, dict) else ""
    return f"{error.status} {str(words or error.reason).splitlines()[0]}"


def cluster_arguments(
    config: RunConfig,
    *,
    tracking: TrackingConfig,
    destination: str = "",
    checkpoint_root: str = "",
    command: str = "",
    force: bool = False,
) -> dict[str, Any]:
    """Return the pipeline's arguments for a run on a cluster, whose pods see no file of this machine.

    Args:
        config: what to run.
        tracking: an MLflow server that the pods reach.
        destination: ``s3://`` prefix for the results; "": MLflow alone keeps them.
        checkpoint_root: folder of a volume mounted into the training pods; "": an interrupted training starts anew.
        command: what the report names as the command.
        force: retrain even where nothing is new.

    Raises:
        ValueError: naming the field whose value only this machine could read.
    """
    _refuse_local_inputs(config)
    require(tracking.tracking_uri.startswith(("http://", "https://")), "tracking-uri", tracking.tracking_uri,
            "pods reach a server only; give the http(s) address of an MLflow server")  # fmt: skip
    host = urlsplit(tracking.tracking_uri).hostname
    require(host not in ("localhost", "127.0.0.1", "::1"), "tracking-uri", tracking.tracking_uri,
            "in a pod that is the pod itself; give the server's address in the cluster")  # fmt: skip
    require(not destination or destination.startswith("s3://"), "destination", destination, "give s3://bucket/prefix")
    for name, folder in (("checkpoint-root", checkpoint_root), ("score.cache", config.score.cache)):
        require(not folder or PurePosixPath(folder).is_absolute(), name, folder,
                "give the full path of a volume that is mounted into the pods")  # fmt: skip
    require(config.cluster.nodes == 1 or PurePosixPath(checkpoint_root).is_relative_to(CHECKPOINT_FOLDER),
            "checkpoint-root", checkpoint_root,
            f"training on several nodes needs a folder below {CHECKPOINT_FOLDER}")  # fmt: skip
    arguments = pipeline_arguments(config, Path(), tracking=tracking, command=command, force=force)
    return {
        **arguments,
        "destination": destination,
        "checkpoint_root": checkpoint_root,
        "distributed": to_dict(config.cluster) if config.cluster.nodes > 1 else {},
    }


def _refuse_local_inputs(config: RunConfig) -> None:
    """Raise ValueError for photos or models that lie on this machine."""
    subjects = config.data.subjects
    fields = [(f"data.more_subjects[{i}].instance_images", s.instance_images) for i, s in enumerate(subjects[1:])]
    fields += [("data.instance_images", config.data.instance_images)]
    if config.data.reference_images:
        fields += [("data.reference_images", config.data.reference_images)]
    require(config.pipeline != "retrain" or not config.data.instance_images.startswith(BUILTIN),
            "data.instance_images", config.data.instance_images, "these never change; give yours: s3://…")  # fmt: skip
    for name, uri in fields:
        require(uri.startswith(("s3://", BUILTIN)), name, uri,
                "pods see no folder of this machine; upload the photos and give s3://…")  # fmt: skip
    models = (
        ("base_model", config.base_model),
        ("score.scorer", config.score.scorer),
        ("score.dino", config.score.dino),
    )
    for name, uri in models:
        require(not _is_local(uri), name, uri, "pods see no folder of this machine; give a hub id, s3://… or builtin:…")


def _is_local(uri: str) -> bool:
    """Tell whether a model is named by a path of this machine; hub ids look like relative paths that do not exist."""
    if uri.startswith(("builtin:", "models:", "s3:", "hf-hub:")):
        return False
    return uri.startswith(("/", ".", "~")) or (bool(uri) and Path(uri).exists())
