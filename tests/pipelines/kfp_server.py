"""A small Kubeflow Pipelines server for tests: the endpoints of v2beta1 that runs and schedules need, over real HTTP.

Bodies pass through the models of kfp_server_api in both directions, so a field that they do not know fails.
Like the true server it refuses unknown or missing pipeline arguments, and a namespace where there is one user.
"""

import itertools
import json
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
import yaml
from tests.pipelines.kfp_runs import DroppedError, RefusedError, Runs

PREFIX = "/apis/v2beta1/"
_models = api.ApiClient()


def read(body: bytes, model: str):
    found = _models.deserialize(SimpleNamespace(data=body), model)
    assert _models.sanitize_for_serialization(found) == json.loads(body), "a field that the model does not know"
    return found


class KfpServer(Runs):
    """State, faults and a thread; use as a context manager."""

    def __init__(self, *, multi_user: bool = False, token: str = "", page: bool = False) -> None:
        super().__init__()
        self.multi_user, self.token, self.page = multi_user, token, page
        self.pipelines, self.versions, self.experiments, self.recurring = {}, {}, {}, {}
        self.specs: dict[str, dict] = {}
        self.writes: list[str] = []
        self.fail_at: tuple[int, str] | None = None
        self.forbidden = False
        self._ids = itertools.count(1)

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self, "GET")

            def do_POST(self):
                owner.answer(self, "POST")

            def do_DELETE(self):
                owner.answer(self, "DELETE")

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    # ── HTTP ──

    def answer(self, handler, method: str) -> None:
        url = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        status, reply, kind = 200, {}, "application/json"
        try:
            if self.page:
                kind = "text/html"
            else:
                self.check_login(handler)
                reply = self.do(method, url.path.removeprefix(PREFIX), query, body, handler.headers)
                kind = "text/plain" if isinstance(reply, bytes) else kind
        except DroppedError:
            handler.close_connection = True
            return
        except RefusedError as error:
            status, reply = error.status, {"code": 3, "message": str(error), "error_message": str(error)}
        plain = b"<html>Login</html>" if self.page else reply
        data = plain if isinstance(plain, bytes) else json.dumps(_models.sanitize_for_serialization(plain)).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def check_login(self, handler) -> None:
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "unauthenticated")

    def do(self, method: str, path: str, query: dict, body: bytes, headers):
        if method == "GET":
            return self.get(path, query)
        if self.forbidden:
            raise RefusedError(403, "User is not authorized")
        self.writes.append(f"{method} {path}")
        fault = self.fail_at and self.fail_at[0] == len(self.writes) and self.fail_at[1]
        if fault == "before":
            raise RefusedError(503, "the database is away")
        reply = self.write(method, path, query, body, headers)
        if fault == "after":
            raise RefusedError(502, "the answer was lost")
        return reply

    # ── reading ──

    def get(self, path: str, query: dict):
        if path == "healthz":
            return api.V2beta1GetHealthzResponse(multi_user=self.multi_user)
        if path.startswith("/apis/v1"):
            return self.first_api(path)
        if match := re.fullmatch(r"runs/([^/]+)", path):
            return self.look(match[1])
        if match := re.fullmatch(r"pipelines/[^/]+/versions/([^/]+)", path):
            return self.versions[match[1]]
        if match := re.fullmatch(r"pipelines/([^/]+)/versions", path):
            rows = [item for item in self.versions.values() if item.pipeline_id == match[1]]
            return self.listed(api.V2beta1ListPipelineVersionsResponse, "pipeline_versions", rows, query)
        self.check_namespace(query.get("namespace"))
        rows, model, field = {
            "pipelines": (self.pipelines, api.V2beta1ListPipelinesResponse, "pipelines"),
            "experiments": (self.experiments, api.V2beta1ListExperimentsResponse, "experiments"),
            "recurringruns": (self.recurring, api.V2beta1ListRecurringRunsResponse, "recurring_runs"),
            "runs": (self.runs, api.V2beta1ListRunsResponse, "runs"),
        }[path]
        chosen = [row for row in rows.values() if (getattr(row, "namespace", None) or None) == query.get("namespace")]
        if query.get("sort_by") == "created_at desc":
            chosen.reverse()
        return self.listed(model, field, chosen, query)

    def listed(self, model, field: str, rows: list, query: dict):
        start, size = int(query.get("page_token") or 0), min(int(query["page_size"]), 2)  # small pages: all are read
        more = str(start + size) if start + size < len(rows) else ""
        return model(**{field: rows[start : start + size], "next_page_token": more, "total_size": len(rows)})

    def check_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise RefusedError(400, "a namespace is needed in multi-user mode")
        if not self.multi_user and namespace:
            raise RefusedError(400, "in single-user mode, a namespace cannot be given")

    # ── writing ──

    def write(self, method: str, path: str, query: dict, body: bytes, headers):
        if (method, path) == ("POST", "pipelines"):
            return self.add(self.pipelines, "pipeline_id", read(body, "V2beta1Pipeline"))
        if (method, path) == ("POST", "pipelines/upload_version"):
            return self.upload(query, body, headers)
        if (method, path) == ("POST", "experiments"):
            made = read(body, "V2beta1Experiment")
            made.storage_state = "AVAILABLE"
            return self.add(self.experiments, "experiment_id", made)
        if (method, path) == ("POST", "recurringruns"):
            return self.schedule(read(body, "V2beta1RecurringRun"))
        if (method, path) == ("POST", "runs"):
            return self.start(read(body, "V2beta1Run"))
        if match := re.fullmatch(r"runs/([^/]+):terminate", path):
            return self.terminate(match[1])
        identifier, _, action = path.removeprefix("recurringruns/").partition(":")
        if identifier not in self.recurring:
            raise RefusedError(404, f"recurring run {identifier} not found")
        if method == "DELETE":
            if query.get("propagation_policy") != "ORPHAN":
                self.runs = {key: run for key, run in self.runs.items() if run.recurring_run_id != identifier}
            del self.recurring[identifier]
        else:
            self.recurring[identifier].mode = {"enable": "ENABLE", "disable": "DISABLE"}[action]
            self.recurring[identifier].status = f"{action.upper()}D"
        return {}

    def add(self, rows: dict, key: str, item):
        if hasattr(item, "namespace"):
            self.check_namespace(item.namespace)
        if key not in ("recurring_run_id", "run_id"):
            of = [getattr(item, field, None) for field in ("display_name", "namespace") if hasattr(item, field)]
            of += [item.pipeline_id] if key == "pipeline_version_id" else []
            for row in rows.values():
                its = [getattr(row, field) for field in ("display_name", "namespace") if hasattr(row, field)]
                its += [row.pipeline_id] if key == "pipeline_version_id" else []
                if its == of:
                    raise RefusedError(409, f"{item.display_name} exists already")
        number = next(self._ids)
        setattr(item, key, f"id-{number}")
        item.created_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        rows[f"id-{number}"] = item
        return item

    def upload(self, query: dict, body: bytes, headers):
        boundary = re.search("boundary=(.+)", headers["Content-Type"])[1].encode()
        text = body.split(b"--" + boundary)[1].partition(b"\r\n\r\n")[2]
        if query["pipelineid"] not in self.pipelines:
            raise RefusedError(404, "no such pipeline")
        version = api.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"], display_name=query["name"], name=query["name"]
        )
        made = self.add(self.versions, "pipeline_version_id", version)
        spec, *platform = yaml.safe_load_all(text)
        self.specs[made.pipeline_version_id] = spec
        made.pipeline_spec = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        return made

    def schedule(self, item):
        reference = item.pipeline_version_reference
        versions = [
            version for version in self.versions.values()
            if version.pipeline_id == reference.pipeline_id
            and reference.pipeline_version_id in (None, version.pipeline_version_id)
        ]  # fmt: skip
        if not versions or item.experiment_id not in self.experiments:
            raise RefusedError(404, "no such pipeline version or experiment")
        self.check_arguments(self.specs[versions[-1].pipeline_version_id], item.runtime_config.parameters)
        if len(item.trigger.cron_schedule.cron.split()) != 6 or not 1 <= int(item.max_concurrency) <= 10:
            raise RefusedError(400, "bad trigger")
        item.namespace = self.experiments[item.experiment_id].namespace
        item.status = "ENABLED" if item.mode == "ENABLE" else "DISABLED"
        return self.add(self.recurring, "recurring_run_id", item)

    def check_arguments(self, spec: dict, given: dict) -> None:
        known = spec["root"]["inputDefinitions"]["parameters"]
        missing = {name for name, rule in known.items() if "defaultValue" not in rule and not rule.get("isOptional")}
        if set(given) - set(known) or missing - set(given):
            raise RefusedError(400, f"arguments do not fit: {set(given) ^ set(known)}")

    # ── what tests ask ──

    def run(self, recurring_run_id: str, state: str = "SUCCEEDED") -> None:
        run = api.V2beta1Run(display_name="run", state=state, recurring_run_id=recurring_run_id)
        self.add(self.runs, "run_id", run)

    def enabled(self) -> list:
        return [item for item in self.recurring.values() if item.mode == "ENABLE"]
