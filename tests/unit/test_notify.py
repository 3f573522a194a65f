"""Notices against a real server: one that takes them, fails first, hangs, or is not there."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from aelif.notify import headline, masked, notify

FACTS = {
    "state": "FINISHED", "model": "aelif-miniature", "version": "4", "verdict": "passed", "cause": "",
    "reasons": ["Better than version 3 by 12 %."], "run_id": "abc", "run_url": "http://mlflow/#/experiments/1/runs/abc",
}  # fmt: skip


class Webhook:
    """Answers with the given statuses in turn, then 200; 0 hangs."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses, self.headers, self.got = list(statuses), headers or {}, []

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
                status = owner.statuses.pop(0) if owner.statuses else 200
                if status == 0:
                    time.sleep(0.5)
                    return
                self.send_response(status)
                for name, value in owner.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/services/SECRET?key=SECRET"
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def test_the_body_has_a_line_for_people_and_every_fact():
    with Webhook() as hook:
        assert notify(FACTS, url=hook.url) == ""
    ((path, kind, body),) = hook.got
    assert path == "/services/SECRET?key=SECRET"
    assert kind.startswith("application/json")
    assert body == {**FACTS, "text": headline(FACTS)}


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_fails_first_is_asked_again(status):
    with Webhook(status) as hook:
        assert notify(FACTS, url=hook.url, delay_s=0.01) == ""
    assert len(hook.got) == 2


def test_one_that_always_fails_is_told_without_the_secret():
    with Webhook(500, 500, 500) as hook:
        fault = notify(FACTS, url=hook.url, delay_s=0.01)
    assert fault == f"http://127.0.0.1:{hook.http.server_port}/…: it answered 500"
    assert len(hook.got) == 3


@pytest.mark.parametrize(("status", "headers"), [(404, {}), (307, {"Location": "http://127.0.0.1:1/SECRET"})])
def test_what_would_not_get_better_is_not_repeated(status, headers):
    with Webhook(status, headers=headers) as hook:
        fault = notify(FACTS, url=hook.url, delay_s=0.01)
    assert len(hook.got) == 1
    assert f"it answered {status}" in fault
    assert "SECRET" not in fault


def test_one_that_hangs_is_left():
    with Webhook(0, 0) as hook:
        fault = notify(FACTS, url=hook.url, attempts=2, timeout_s=0.1, delay_s=0.01)
    assert "no answer within 0.1 s" in fault
    assert "SECRET" not in fault


def test_a_pause_that_the_server_asks_for_is_kept():
    with Webhook(429, headers={"Retry-After": "1"}) as hook:
        start = time.monotonic()
        assert notify(FACTS, url=hook.url, delay_s=0.01) == ""
    assert 1 <= time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/SECRET", "http://127.0.0.1:1/…: no connection"),
        ("http://no-such-host.invalid/SECRET", "http://no-such-host.invalid/…: no connection"),
        ("ftp://host/SECRET", "no http(s) address"),
        ("SECRET", "no http(s) address"),
        ("http://[SECRET", "no http(s) address"),
        ("http://host:SECRET/", "no http(s) address"),
        ("http://.SECRET./", "…: "),
        ("", "no http(s) address"),
    ],
)
def test_addresses_that_lead_nowhere_never_raise(url, said):
    fault = notify(FACTS, url=url, attempts=1)
    assert said in fault
    assert "\n" not in fault
    assert "SECRET" not in fault.replace("http://.secret./…", "").replace("http://.SECRET./…", "")


def test_a_login_in_the_address_is_masked():
    assert masked("https://user:SECRET@chat.example:8443/hooks/SECRET") == "https://chat.example:8443/…"


def test_facts_that_are_no_json_are_sent_as_text():
    with Webhook() as hook:
        assert notify({**FACTS, "run_url": hook}, url=hook.url) == ""


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"trial": "aelif_mask:0.3/seed=0", "improvement": {"value": 0.12}, "against": "3"},
            "aelif-miniature: version 4 is champion (aelif_mask:0.3, 12 % better than version 3)",
        ),
        ({}, "aelif-miniature: version 4 is champion: Better than version 3 by 12 %"),
        ({"verdict": "promoted", "version": "aelif-miniature/4", "model": "", "reasons": ""},
         "aelif-miniature: version 4 is champion"),
        ({"verdict": "rejected", "reasons": "Clean distance 1.2 exceeds 1.0; second"},
         "aelif-miniature: version 4 was refused: Clean distance 1.2 exceeds 1.0"),
        ({"verdict": "waiting", "reasons": []},
         "aelif-miniature: version 4 waits for approval: aelif promote aelif-miniature 4"),
        ({"verdict": "unchanged", "version": "3", "reasons": ["the same photos were tried"]},
         "aelif-miniature: nothing to do, version 3 stays champion: the same photos were tried"),
        ({"verdict": "registered", "reasons": ["run aelif run retrain"]},
         "aelif-miniature: version 4 is challenger, and was not measured against the champion: run aelif run retrain"),
        ({"verdict": "kept"}, "aelif-miniature: version 4 stays champion: the run made the same weights again"),
        ({"verdict": "rolled-back", "reasons": None},
         "aelif-miniature: nothing was promoted: these weights were rolled back before"),
        ({"verdict": "forced", "reasons": []}, "aelif-miniature: version 4 was made champion by hand"),
        ({"state": "FAILED", "cause": "train: out of memory\nTraceback"},
         "aelif-miniature: the run failed: train: out of memory"),
        ({"state": "KILLED", "cause": ""}, "aelif-miniature: the run was stopped: MLflow and the log say more"),
        ({"verdict": "news", "reasons": []}, "aelif-miniature: the run finished"),
    ],
)  # fmt: skip
def test_the_headline_says_what_became_of_the_model(changes, line):
    assert headline({**FACTS, **changes}) == line


def test_a_headline_needs_no_facts():
    assert headline({"state": "FAILED"}) == "aelif: the run failed: MLflow and the log say more"
    assert headline({}) == "aelif: the run finished"
