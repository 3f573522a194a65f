"""Addresses in the ConfigMap: services of the cluster, whose names mean nothing elsewhere, or servers outside."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from aelif_pipelines.doctor_cluster.kube import Kube

_SCHEME_PORTS = {"http": 80, "https": 443}
_CLUSTER_DOMAINS = (".svc", ".svc.cluster.local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server's address."""

    url: str
    """Without a slash at its end."""
    host: str
    port: int
    service: str = ""
    """Name of the cluster's service; "": a server outside."""
    namespace: str = ""

    @property
    def scheme(self) -> str:
        """Return http or https."""
        return urlsplit(self.url).scheme

    def forward(self, port: int) -> str:
        """Return the command that makes the service answer at `port` of this machine."""
        return f"kubectl -n {self.namespace} port-forward service/{self.service} {port}:{self.port}"


def read_address(url: str, kube: Kube) -> Address:
    """Return what a URL names.

    A name without a dot, or with one that is not known outside of the cluster, is a service too: pods complete it.

    Raises:
        ValueError: if it is no http(s) address.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEME_PORTS or not parts.hostname:
        raise ValueError(f"{url}: no http(s) address")
    host, port = parts.hostname, parts.port or _SCHEME_PORTS[parts.scheme]
    plain = Address(url=url.rstrip("/"), host=host, port=port)
    stem = next((host.removesuffix(domain) for domain in reversed(_CLUSTER_DOMAINS) if host.endswith(domain)), "")
    if not stem and _may_be_service(host, kube):
        stem = host
    if not stem:
        return plain
    service, _, namespace = stem.partition(".")
    return Address(url=plain.url, host=host, port=port, service=service, namespace=namespace or kube.namespace)


def is_outside(address: Address) -> bool:
    """Tell whether an address is that of a server outside of the cluster."""
    return not address.service


def _may_be_service(host: str, kube: Kube) -> bool:
    """Tell whether a short name, ``service`` or ``service.namespace``, is one of the cluster's."""
    if host == "localhost" or host.count(".") > 1:
        return False  # an address of numbers has three dots, or none but colons
    if "." not in host:
        return ":" not in host
    return _resolves(f"{host}.svc") if kube.inside else not _resolves(host)


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except OSError:  # nobody knows it
        return False
