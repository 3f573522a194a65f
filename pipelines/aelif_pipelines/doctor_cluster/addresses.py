"""Addresses in the ConfigMap: services of the cluster, whose names mean nothing elsewhere, or servers outside."""

from __future__ import annotations

import ipaddress
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

    A name without a dot, or with one that this machine does not know, is a service too: pods complete it.

    Raises:
        ValueError: if it is no http(s) address.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEME_PORTS or not parts.hostname:
        raise ValueError(f"{url}: no http(s) address")
    host, port = parts.hostname, parts.port or _SCHEME_PORTS[parts.scheme]
    plain = Address(url=url.rstrip("/"), host=host, port=port)
    stem = next((host.removesuffix(domain) for domain in reversed(_CLUSTER_DOMAINS) if host.endswith(domain)), "")
    if not stem and host != "localhost" and host.count(".") <= 1 and not _is_known_here(host, kube):
        stem = host
    if not stem:
        return plain
    service, _, namespace = stem.partition(".")
    return Address(url=plain.url, host=host, port=port, service=service, namespace=namespace or kube.namespace)


def is_outside(address: Address) -> bool:
    """Tell whether an address is that of a server outside of the cluster."""
    return not address.service


def _is_known_here(host: str, kube: Kube) -> bool:
    """Tell whether a name is one of the internet's; in a pod a service's name resolves too."""
    try:
        ipaddress.ip_address(host)
        return True
    except ValueError:  # a name
        pass
    if kube.inside:
        return "." in host and kube.read(kube.core.read_namespace, host.partition(".")[2]) is None
    try:
        socket.getaddrinfo(host, None)
        return "." in host
    except OSError:  # nobody knows it
        return False
