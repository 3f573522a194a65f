"""A small Kubernetes API for tests, over real HTTP: objects, access reviews by their RBAC, a service proxy.

Objects pass through the models of the `kubernetes` client, so a field that they do not know fails. Nothing can be
changed: what is asked must be a question.
"""

import json
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import urlsplit

import yaml
from kubernetes import client as api

_models = api.ApiClient()
MODELS = {
    "Namespace": "V1Namespace", "Node": "V1Node", "Pod": "V1Pod", "ConfigMap": "V1ConfigMap", "Secret": "V1Secret",
    "Service": "V1Service", "ServiceAccount": "V1ServiceAccount", "ResourceQuota": "V1ResourceQuota",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim", "NetworkPolicy": "V1NetworkPolicy", "Role": "V1Role",
    "RoleBinding": "V1RoleBinding", "ClusterRole": "V1ClusterRole", "ClusterRoleBinding": "V1ClusterRoleBinding",
}  # fmt: skip
"""Kinds of Kubernetes' own; others are custom resources, kept as they are."""


def plural_of(kind: str) -> str:
    return f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"


def status(code: int, message: str) -> dict:
    reason = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}[code]
    return _models.sanitize_for_serialization(
        api.V1Status(api_version="v1", kind="Status", status="Failure", code=code, reason=reason, message=message)
    )


class KubeServer:
    """State, faults and a thread; use as a context manager."""

    def __init__(self, objects=(), *, user: str = "kubernetes-admin", version: str = "v1.33.4") -> None:
        self.user, self.version = user, version
        self.groups: dict[str, list[str]] = {}
        """API group → versions, of custom resources."""
        self.forbidden: set[tuple[str, str]] = set()
        """(verb, plural) that the caller may not."""
        self.caller_may = True
        """What is answered to questions about the caller, unless it is an account that has RBAC objects here."""
        self.login = True
        self.backends: dict[str, str] = {}
        """namespace/service:port → address of a server that answers for it."""
        self.objects: dict[tuple[str, str, str], dict] = {}
        self.asked: list[tuple[str, str]] = []
        for item in objects:
            self.add(item)

    def add(self, item: dict) -> dict:
        """Hold an object, in the shape that the client's model gives it."""
        if model := MODELS.get(item["kind"]):
            found = _models.deserialize(SimpleNamespace(data=json.dumps(item)), model)
            shaped = _models.sanitize_for_serialization(found)
            assert shaped.keys() >= item.keys() - {"stringData"}, f"the model does not know a field of {item}"
            item = shaped
        else:
            group, _, version = item["apiVersion"].partition("/")
            versions = self.groups.setdefault(group, [])
            versions += [version] if version not in versions else []
        metadata = item["metadata"]
        self.objects[plural_of(item["kind"]), metadata.get("namespace", ""), metadata["name"]] = item
        return item

    def find(self, plural: str, name: str, namespace: str = "kubeflow") -> dict:
        return self.objects[plural, namespace, name]

    def remove(self, plural: str, name: str, namespace: str = "kubeflow") -> None:
        del self.objects[plural, namespace, name]

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self, "GET")

            def do_POST(self):
                owner.answer(self, "POST")

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def kubeconfig(self, path, *, context: str = "test"):
        """Write a kubeconfig for this server, and return its path."""
        path.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip
        return path

    # ── HTTP ──

    def answer(self, handler, method: str) -> None:
        url = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.asked.append((method, url.path))
        if not self.login or handler.headers.get("Authorization") != "Bearer secret":
            code, data = 401, json.dumps(status(401, "Unauthorized")).encode()
        elif "/proxy/" in url.path:
            code, data = self.proxy(url)
        else:
            code, reply = self.post(url.path, json.loads(body)) if method == "POST" else self.get(url.path)
            data = json.dumps(reply).encode()
        handler.send_response(code)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def get(self, path: str):
        if path == "/version/":
            major, minor = self.version.removeprefix("v").split(".")[:2]
            info = api.VersionInfo(
                build_date="", compiler="gc", git_commit="", git_tree_state="clean", go_version="", major=major,
                git_version=self.version, minor=f"{minor}+", platform="linux/amd64",
            )  # fmt: skip
            return 200, _models.sanitize_for_serialization(info)
        if path in ("/apis", "/apis/"):
            return 200, self.api_groups()
        parts = path.strip("/").split("/")[2 if path.startswith("/api/") else 3 :]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name = parts[0], parts[1] if len(parts) > 1 else ""
        if ("get" if name else "list", plural) in self.forbidden:
            verb = "get" if name else "list"
            return 403, status(403, f'{plural} is forbidden: User "{self.user}" cannot {verb} resource "{plural}"')
        if not name:
            items = [item for (kind, place, _), item in self.objects.items()
                     if kind == plural and namespace in ("", place)]  # fmt: skip
            return 200, {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}
        found = self.objects.get((plural, namespace, name))
        return (200, found) if found else (404, status(404, f'{plural} "{name}" not found'))

    def api_groups(self):
        groups = []
        for name, versions in self.groups.items():
            served = [
                api.V1GroupVersionForDiscovery(group_version=f"{name}/{version}", version=version)
                for version in versions
            ]
            groups.append(api.V1APIGroup(name=name, versions=served, preferred_version=served[0]))
        return _models.sanitize_for_serialization(api.V1APIGroupList(groups=groups, kind="APIGroupList"))

    def post(self, path: str, body: dict):
        plural = path.rpartition("/")[2]
        if ("create", plural) in self.forbidden:
            return 403, status(403, f'{plural} is forbidden: User "{self.user}" cannot create resource "{plural}"')
        if plural == "selfsubjectreviews":
            return 201, {**body, "status": {"userInfo": {"username": self.user}}}
        attributes = body["spec"]["resourceAttributes"]
        user = body["spec"].get("user", self.user)
        account = user.startswith("system:serviceaccount:")
        allowed = self.may(user, attributes) if account else self.caller_may
        return 201, {**body, "status": {"allowed": allowed}}

    def proxy(self, url):
        """Pass a call on to a server; like the true proxy without the caller's login."""
        head, _, path = url.path.partition("/proxy/")
        _, _, _, namespace, _, service = head.strip("/").split("/")
        *scheme, name, port = service.split(":")
        assert scheme in ([], ["http"])
        if ("get", "services/proxy") in self.forbidden:
            return 403, json.dumps(status(403, "services/proxy is forbidden")).encode()
        if ("services", namespace, name) not in self.objects:
            return 404, json.dumps(status(404, f'services "{name}" not found')).encode()
        if f"{namespace}/{name}:{port}" not in self.backends:
            return 503, json.dumps(status(503, f'no endpoints available for service "{name}"')).encode()
        target = f"{self.backends[f'{namespace}/{name}:{port}']}/{path.lstrip('/')}" + (
            f"?{url.query}" if url.query else ""
        )
        try:
            with urllib.request.urlopen(target, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    # ── RBAC ──

    def may(self, user: str, attributes: dict) -> bool:
        """Read roles and bindings as Kubernetes would."""
        namespace, name = user.split(":")[2:]
        for (kind, place, _), binding in list(self.objects.items()):
            if kind not in ("rolebindings", "clusterrolebindings") or place not in ("", attributes["namespace"]):
                continue
            subjects = [(one.get("namespace", place), one["name"]) for one in binding["subjects"]]
            if (namespace, name) not in subjects:
                continue
            role = binding["roleRef"]
            with suppress(KeyError):
                rules = self.find(plural_of(role["kind"]), role["name"], place if role["kind"] == "Role" else "")[
                    "rules"
                ]
                if any(_grants(rule, attributes) for rule in rules):
                    return True
        return False


def _grants(rule: dict, attributes: dict) -> bool:
    names = rule.get("resourceNames")
    return (
        attributes["verb"] in rule["verbs"]
        and attributes["resource"] in rule["resources"]
        and attributes.get("group", "") in rule["apiGroups"]
        and (not names or attributes.get("name") in names)
    )
