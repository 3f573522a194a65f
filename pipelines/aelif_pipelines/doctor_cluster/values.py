"""The runs' ConfigMaps and Secrets: of the namespace, or where they may not be read, of this pod's environment."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kubernetes.client.exceptions import ApiException

from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.doctor_cluster.kube import Kube, NotLookedError, fault, refused

_APPLY = "fill it in below manifests/overlays/…/runs and kubectl apply -k the overlay"
_PAIR = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one of them holds."""

    values: Mapping[str, str]
    where: str
    """Whose values these are, for messages."""


def read_source(kube: Kube, source: contract.Source) -> Held | None:
    """Return a ConfigMap's or Secret's values, None where there is none.

    Steps may not read these objects: they get the values as variables. A pod that was given the same variables is
    examined by them.

    Raises:
        NotLookedError: if Kubernetes was not reached.
        ApiException: if they may not be read, and this pod has no such variables.
    """
    of_kind = kube.core.read_namespaced_config_map if source.kind == "ConfigMap" else kube.core.read_namespaced_secret
    try:
        found = kube.read(of_kind, source.name, kube.namespace)
    except ApiException as error:
        given = {name: os.environ[name] for name in source.key_names if name in os.environ}
        if error.status != 403 or not kube.inside or not given:
            raise
        return Held(values=given, where="this pod's environment")
    if found is None:
        return None
    data = found.data or {}
    if source.kind == "Secret":
        data = {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
    return Held(values=data, where=f"{source.kind} {source.name}")


def check_source(kube: Kube, source: contract.Source) -> Finding:
    """Look for each key of a ConfigMap or Secret; values are not shown."""
    subject = f"{source.kind} {source.name}"
    held = read_source(kube, source)
    if held is None:
        return fault(subject, f"not in {kube.namespace}: no pod of a step would start", _APPLY)
    absent = sorted(source.key_names - set(held.values))
    empty = sorted(key.name for key in source.keys if not key.optional and not held.values.get(key.name, "").strip())
    faults = [f"no key {name}: no pod of a step would start" for name in absent]
    faults += [f"{name} is empty" for name in empty if name not in absent]
    if source is contract.TRACKING_ACCOUNT and len({bool(held.values.get(name)) for name in _PAIR}) == 2:
        faults.append("name or password is empty, the other is not")
    if faults:
        meanings = "; ".join(f"{key.name} is {key.meaning}" for key in source.keys if key.name in {*absent, *empty})
        remedy = f"{_APPLY}; {meanings}" if meanings else f"{_APPLY}: both, or neither where MLflow asks none"
        return fault(subject, "; ".join(faults), remedy)
    unset = sorted(key.name for key in source.keys if not held.values[key.name])
    found = f"{len(source.keys)} keys" + (f", empty as they may be: {', '.join(unset)}" if unset else "")
    return Finding(subject=subject, found=found if held.where == subject else f"{found}, in {held.where}")


def gather(kube: Kube, *sources: contract.Source) -> dict[str, str]:
    """Return the values of several; what is missing or may not be read is absent."""
    found: dict[str, str] = {}
    for source in sources:
        found.update(dict(_readable(kube, source)))
    return found


def setting(kube: Kube, name: str) -> str:
    """Return one value of ConfigMap `aelif`.

    Raises:
        NotLookedError: if it is not known.
    """
    value = gather(kube, contract.SETTINGS).get(name, "")
    if not value:
        raise NotLookedError(f"{name} is not known", f"see the finding on ConfigMap {contract.SETTINGS.name}")
    return value


def _readable(kube: Kube, source: contract.Source) -> Iterator[tuple[str, str]]:
    try:
        held = read_source(kube, source)
    except ApiException as error:
        if refused(source.name, error).ok:  # not allowed: nothing is known
            return
        raise
    if held is not None:
        yield from held.values.items()
