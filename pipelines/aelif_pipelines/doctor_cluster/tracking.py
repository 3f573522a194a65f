"""MLflow, as the runs' ConfigMap names it: health, version, the account of the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import requests
from kubernetes.client.exceptions import ApiException

from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.doctor_cluster.addresses import Address, is_outside, read_address
from aelif_pipelines.doctor_cluster.kube import TIMEOUT_S, Kube, fault, not_looked, refused, status_of
from aelif_pipelines.doctor_cluster.values import gather, setting

MIN_MLFLOW = 3
"""Major version: older servers know no logged models."""
_LISTING = "/api/2.0/mlflow/experiments/search"
_ROWS = {"max_results": "1"}
_NAMES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


class Answer(NamedTuple):
    """What the server said."""

    status: int
    text: str


Ask = Callable[..., Answer]
"""path, query, account → answer."""


def check_tracking(kube: Kube, *, reached_at: str) -> Iterator[Finding]:
    """Ask MLflow's health, version and accounts.

    Args:
        kube: the cluster.
        reached_at: where the server answers to this machine, a port-forward perhaps; "": at its own address. That
            of a service is asked through the Kubernetes API.
    """
    url = setting(kube, "MLFLOW_TRACKING_URI")
    try:
        address = read_address(reached_at or url, kube)
    except ValueError as error:
        yield fault("MLflow", str(error), "set MLFLOW_TRACKING_URI in runs/settings.env: http(s)://…")
        return
    through_api = not is_outside(address) and not kube.inside and not reached_at
    ask = _through_api(kube, address) if through_api else _directly(address)
    try:
        yield from _examine(kube, address, ask, url=url, through_api=through_api)
    except requests.RequestException as error:
        yield fault("MLflow", f"no answer at {address.url}: {type(error).__name__}", _silent(address, kube))
    except ApiException as error:
        yield _refused_by_api(error, address, kube)


def _examine(kube: Kube, address: Address, ask: Ask, *, url: str, through_api: bool) -> Iterator[Finding]:
    health, version = ask("/health"), ask("/version")
    account = _account(kube)
    if version.status == 401 and all(account) and not through_api:  # a server with accounts tells it to them alone
        version = ask("/version", account=account)
    yield _version(url, address, health, version)
    if health.status == 200:
        yield _accounts(kube, address, ask, through_api=through_api)


def _version(url: str, address: Address, health: Answer, version: Answer) -> Finding:
    if health.status != 200:
        remedy = "kubectl -n aelif logs deployment/mlflow; is it MLflow that MLFLOW_TRACKING_URI names?"
        return fault("MLflow", f"{address.url}/health answers {health.status}", remedy)
    if version.status == 401:
        return Finding(subject="MLflow", found=f"in good health at {url}; its version it tells to accounts alone")
    words = version.text.strip()
    major = words.partition(".")[0]
    if version.status != 200 or not major.isdecimal():
        remedy = "set MLFLOW_TRACKING_URI in runs/settings.env to an MLflow server"
        return fault("MLflow", f"{address.url} answers, but says no version: it is no MLflow", remedy)
    return Finding(
        subject="MLflow",
        found=f"{words} at {url}",
        ok=int(major) >= MIN_MLFLOW,
        remedy=f"update the server to {MIN_MLFLOW} or newer",
    )


def _account(kube: Kube) -> tuple[str, str]:
    """Return name and password of the runs, each "" where it is not known."""
    values = gather(kube, contract.TRACKING_ACCOUNT)
    return values.get(_NAMES[0], ""), values.get(_NAMES[1], "")


def _accounts(kube: Kube, address: Address, ask: Ask, *, through_api: bool) -> Finding:
    """Ask once without an account and once with the runs' own."""
    subject = "MLflow's account"
    nameless = ask(_LISTING, _ROWS)
    name, password = _account(kube)
    secret = f"Secret {contract.TRACKING_ACCOUNT.name}"
    if nameless.status == 200:
        return Finding(subject=subject, found=f"none is asked for{', though the Secret has one' if name else ''}")
    if nameless.status != 401:
        if through_api:  # the server's list of allowed hosts has its own names, not that of the Kubernetes API
            return not_looked(subject, f"through the Kubernetes API it answers {nameless.status}", _closer(address))
        return fault(
            subject,
            f"{_LISTING} answers {nameless.status}: {nameless.text[:100]}",
            "403 'Invalid Host header': add name and port to --allowed-hosts, servers/mlflow.yaml",
        )
    if not gather(kube, contract.TRACKING_ACCOUNT):
        return not_looked(subject, f"one is asked for; {secret} is not known", "see the finding on it")
    if not name or not password:
        return fault(
            subject,
            f"one is asked for, and {secret} has none",
            "fill in runs/secrets/mlflow.env with the account of servers/secrets/user.env, apply",
        )
    if through_api:
        return not_looked(subject, f"one is asked for, {secret} has one; the Kubernetes API passes no login on",
                          _closer(address))  # fmt: skip
    answer = ask(_LISTING, _ROWS, (name, password))
    if answer.status == 200:
        return Finding(subject=subject, found=f"that of {secret} is accepted: {name}")
    return fault(
        subject,
        f"that of {secret} ({name}) is refused: {answer.status}",
        "run job/mlflow-user again: user.env and mlflow.env must have the same name and password",
    )


def _directly(address: Address) -> Ask:
    def ask(path: str, query: dict[str, str] | None = None, account: tuple[str, str] | None = None) -> Answer:
        # Without an account still an "account", else requests takes one from a .netrc.
        answer = requests.get(
            address.url + path, params=query, auth=account or (lambda request: request), timeout=TIMEOUT_S
        )
        return Answer(answer.status_code, answer.text)

    return ask


def _through_api(kube: Kube, address: Address) -> Ask:
    """Ask through the API server's proxy, which takes the login for itself and passes none on."""
    place = f"/api/v1/namespaces/{address.namespace}/services/{address.scheme}:{address.service}:{address.port}/proxy"

    def ask(path: str, query: dict[str, str] | None = None, account: tuple[str, str] | None = None) -> Answer:
        try:
            text, status, _ = kube.client.call_api(
                place + path, "GET", query_params=list((query or {}).items()), auth_settings=["BearerToken"],
                response_type="str", _request_timeout=TIMEOUT_S,
            )  # fmt: skip
        except ApiException as error:
            if status_of(error) or error.status >= 500:
                raise
            return Answer(error.status, str(error.body))
        return Answer(status, text)

    return ask


def _refused_by_api(error: ApiException, address: Address, kube: Kube) -> Finding:
    if error.status == 403:
        return not_looked("MLflow", "you may not ask it through the Kubernetes API", _closer(address))
    if error.status in (404, 503):
        missing = "there is no such service" if error.status == 404 else "no pod of it is ready"
        return fault("MLflow", f"{address.url}: {missing}", _silent(address, kube))
    return refused("MLflow", error)


def _silent(address: Address, kube: Kube) -> str:
    if is_outside(address):
        return "is MLFLOW_TRACKING_URI (runs/settings.env) right, and the server up? A firewall may let pods alone pass"
    return f"kubectl -n {address.namespace} get pods,services: is it up?" + (
        " A network policy may close it: see 'network'" if kube.inside else ""
    )


def _closer(address: Address) -> str:
    return f"{address.forward(5000)}, then --tracking-uri http://127.0.0.1:5000; or run this in the cluster"
