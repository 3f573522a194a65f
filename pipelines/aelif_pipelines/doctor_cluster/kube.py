"""The Kubernetes API as checks ask it: an object or none, a refusal as "not looked at", the rest as a failure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kubernetes import client as api
from kubernetes import config as kube_config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from aelif.doctor import Finding
from aelif_pipelines.errors import CommandError

KUBEFLOW = "kubeflow"
"""Namespace of Kubeflow Pipelines' own pods."""
TIMEOUT_S = (5, 20)
"""To connect, and to read an answer."""
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class NotLookedError(Exception):
    """A check cannot be made from here: why, and what would make it possible."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


class Kube:
    """A cluster, or none, and the namespace of the runs."""

    def __init__(self, client: Any, namespace: str) -> None:
        self._client, self.namespace = client, namespace

    @property
    def client(self) -> Any:
        """Return the client; raises `NotLookedError` where the cluster was not reached."""
        if self._client is None:
            raise NotLookedError("Kubernetes was not reached")
        return self._client

    @property
    def address(self) -> str:
        """Return the API server's address."""
        return str(self.client.configuration.host)

    @property
    def core(self) -> Any:
        """Return the API of pods, nodes, Secrets."""
        return api.CoreV1Api(self.client)

    @property
    def inside(self) -> bool:
        """Whether this process runs in a pod, where names of services resolve."""
        return "KUBERNETES_SERVICE_HOST" in os.environ

    def read(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Return what `call` of the generated API does, None where there is no such object."""
        try:
            return call(*args, _request_timeout=TIMEOUT_S, **options)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def plain(self, answer: Any) -> Any:
        """Return an answer of the generated API as JSON, with Kubernetes' own names."""
        return self.client.sanitize_for_serialization(answer)

    def custom(self, group: str, version: str, plural: str, name: str, *, namespaced: bool = True) -> Any:
        """Return a custom resource as JSON; None where there is none."""
        resources = api.CustomObjectsApi(self.client)
        if namespaced:
            return self.read(
                resources.get_namespaced_custom_object, group, version, self.namespace, plural, name
            )  # fmt: skip
        return self.read(resources.get_cluster_custom_object, group, version, plural, name)

    def group_versions(self, group: str) -> list[str]:
        """Return the versions of an API group that the cluster serves: none where it is not installed."""
        groups = self.read(api.ApisApi(self.client).get_api_versions).groups
        return [version.version for one in groups if one.name == group for version in one.versions]


def reach(context: str) -> Any:
    """Return a client for the cluster: the pod's own, else that of the kubeconfig; `context` names one of the latter.

    Raises:
        CommandError: if neither is there, or there is no such context.
    """
    settings = api.Configuration()
    settings.client_side_validation = False  # a newer server may send what this client does not know
    try:
        if not context and "KUBERNETES_SERVICE_HOST" in os.environ:
            kube_config.load_incluster_config(client_configuration=settings)
        else:
            kube_config.load_kube_config(context=context or None, client_configuration=settings)
    except ConfigException as error:
        raise CommandError(str(error)) from error
    settings.retries = False  # urllib3 would wait for its timeout four times
    return api.ApiClient(settings)


def own_namespace() -> str:
    """Return the namespace of this pod, else that of Kubeflow Pipelines."""
    return _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.is_file() else KUBEFLOW


def run_check(subject: str, look: Callable[[], Finding | Iterable[Finding]]) -> list[Finding]:
    """Return what a check finds; a refusal or a silent server is a finding too, so that the next check runs."""
    findings: list[Finding] = []
    try:
        found = look()
        findings.extend([found] if isinstance(found, Finding) else found)  # keeps what came before a refusal
    except NotLookedError as error:
        findings.append(not_looked(subject, error.reason, error.remedy))
    except ApiException as error:
        findings.append(refused(subject, error))
    except HTTPError as error:
        findings.append(fault(subject, f"no answer: {type(error).__name__}", "run it again; is the API server well?"))
    return findings


def fault(subject: str, found: str, remedy: str) -> Finding:
    """Return the finding of a check that something is wrong."""
    return Finding(subject=subject, found=found, ok=False, remedy=remedy)


def not_looked(subject: str, reason: str, remedy: str = "") -> Finding:
    """Return the finding of a check that could not be made."""
    return Finding(subject=subject, found=f"not looked at: {reason}", looked=False, remedy=remedy)


def refused(subject: str, error: ApiException) -> Finding:
    """Return what an API server's refusal means: of this account, of its login, or of the server."""
    said = message_of(error)
    if error.status == 403:
        return not_looked(subject, f"you may not: {said}", "ask an administrator to run this, or for that right")
    if error.status == 401:
        remedy = "log in again (the kubeconfig's credentials are refused), or give another --context"
        return fault(subject, f"401 {said}", remedy)
    return fault(subject, f"{error.status} {said}", "look at the API server's log")


def status_of(error: ApiException) -> dict[str, Any]:
    """Return the `Status` object that Kubernetes answers a refusal with; {} if somebody else answered."""
    try:
        body = json.loads(error.body or "")
    except ValueError:  # a proxy's page, or the words of a server behind the API
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def message_of(error: ApiException) -> str:
    """Return the server's own words in one line."""
    words = str(status_of(error).get("message") or error.reason or "").splitlines()
    return words[0] if words else "no reason given"
