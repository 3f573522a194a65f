"""Telling people how a run ended: one POST to a webhook that Slack, Mattermost or Teams understands.

A notice is a courtesy: what goes wrong with it is returned as one line, and never raised. The path of a
webhook's address is its password, so no line that leaves here repeats it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

_ENDED_WELL = ("FINISHED", "SUCCEEDED")
_STOPPED = ("KILLED", "CANCELLED", "CANCELED")
_MAX_DELAY_S = 10.0
"""Longest pause between two attempts, whatever the server asks for."""


def notify(
    facts: Mapping[str, Any],
    *,
    url: str,
    attempts: int = 3,
    timeout_s: float = 10.0,
    delay_s: float = 1.0,
) -> str:
    """POST `facts` with a line for people to a webhook; return "" or why nobody was told.

    The body is JSON: ``text`` (see `headline`), beside it every fact. Answers of 429 and 5xx, and
    connections that fail, are tried again, after a pause that doubles each time.

    Args:
        facts: ``state``, ``model``, ``version``, ``verdict``, ``reasons``, ``run_id``, ``run_url``, ``cause``;
            any may be missing.
        url: of the webhook, http or https.
        attempts: how often to try, at least 1.
        timeout_s: seconds to wait for a connection, and for each part of an answer.
        delay_s: seconds before the second attempt.

    Returns:
        "" once the server took it; else one line that names host and cause, and hides the rest of the address.
    """
    place = masked(url)
    if not place:
        return "the webhook is no http(s) address; check AELIF_WEBHOOK_URL"
    body = json.dumps({**facts, "text": headline(facts)}, default=str, ensure_ascii=False).encode()
    fault = ""
    for attempt in range(attempts):
        fault, again_after_s = _post(url, body, timeout_s=timeout_s)
        if not fault:
            return ""
        if again_after_s is None:
            break
        if attempt + 1 < attempts:
            time.sleep(min(max(again_after_s, delay_s * 2**attempt), _MAX_DELAY_S))
    return f"{place}: {fault}"


def masked(url: str) -> str:
    """Return scheme, host and port of an address, "" if it is none: path, query and login are secrets."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:  # a bracket that never closes, a port that is no number
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}/…"


def _post(url: str, body: bytes, *, timeout_s: float) -> tuple[str, float | None]:
    """Try once; return what failed ("" if nothing), and after how many seconds to try again (None: never)."""
    import requests

    try:
        answer = requests.post(
            url.strip(),
            data=body,
            headers={"Content-Type": "application/json; charset=utf-8"},
            timeout=timeout_s,
            allow_redirects=False,  # the secret goes where it was meant to go, and nowhere else
        )
    except requests.Timeout:
        return f"no answer within {timeout_s:g} s", 0.0
    except requests.ConnectionError:
        return "no connection; check the host, and that pods may reach it", 0.0
    except requests.RequestException as error:  # its text repeats the address
        return f"the address cannot be used ({type(error).__name__})", None
    if answer.ok and not answer.is_redirect:
        return "", None
    if answer.is_redirect:
        return f"it answered {answer.status_code} and points elsewhere; give the final address", None
    if answer.status_code == 429 or answer.status_code >= 500:
        return f"it answered {answer.status_code}", _seconds(answer.headers.get("Retry-After", ""))
    return f"it answered {answer.status_code}; check that the webhook still exists and takes JSON", None


def _seconds(text: str) -> float:
    """Return the seconds that ``Retry-After`` asks for; 0 where it gives a date or nothing."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def headline(facts: Mapping[str, Any]) -> str:
    """Return one line that says what became of the model, and what a person has to do, if anything."""
    model, version = _name(facts)
    reason = _first(facts.get("reasons"))
    state = str(facts.get("state") or "FINISHED")
    if state not in _ENDED_WELL:
        verb = "was stopped" if state in _STOPPED else "failed"
        return _line(model, f"the run {verb}", _one_line(facts.get("cause")) or "MLflow and the log say more")
    verdict = str(facts.get("verdict") or "")
    say = _VERDICTS.get(verdict)
    return say(model, version, reason, facts) if say else _line(model, "the run finished", reason)


def _champion(model: str, version: str, reason: str, facts: Mapping[str, Any]) -> str:
    details = ", ".join(filter(None, (_one_line(facts.get("trial")).partition("/")[0], _gain(facts))))
    said = f"version {version} is champion" + (f" ({details})" if details else "")
    return _line(model, said, "" if details else reason)


def _gain(facts: Mapping[str, Any]) -> str:
    """Return "12 % better than version 3" where the run measured it."""
    improvement, against = facts.get("improvement"), facts.get("against")
    if isinstance(improvement, Mapping):
        improvement = improvement.get("value")
    if not isinstance(improvement, (int, float)) or not against:
        return ""
    return f"{abs(improvement):.0%} ".replace("%", " %") + (
        f"{'better' if improvement >= 0 else 'worse'} than version {against}"
    )


def _refused(model: str, version: str, reason: str, _facts: Mapping[str, Any]) -> str:
    return _line(model, f"{f'version {version}' if version else 'the new model'} was refused", reason)


def _waiting(model: str, version: str, reason: str, _facts: Mapping[str, Any]) -> str:
    command = f"aelif promote {model or 'NAME'} {version or 'challenger'}"
    return _line(model, f"version {version or '?'} waits for approval", "; ".join(filter(None, (reason, command))))


def _registered(model: str, version: str, reason: str, _facts: Mapping[str, Any]) -> str:
    return _line(model, f"version {version} is challenger, and was not measured against the champion", reason)


def _kept(model: str, version: str, _reason: str, _facts: Mapping[str, Any]) -> str:
    return _line(model, f"version {version} stays champion", "the run made the same weights again")


def _rolled_back(model: str, _version: str, reason: str, _facts: Mapping[str, Any]) -> str:
    return _line(model, "nothing was promoted", reason or "these weights were rolled back before")


def _unchanged(model: str, version: str, reason: str, _facts: Mapping[str, Any]) -> str:
    return _line(model, f"nothing to do{f', version {version} stays champion' if version else ''}", reason)


def _forced(model: str, version: str, reason: str, _facts: Mapping[str, Any]) -> str:
    return _line(model, f"version {version} was made champion by hand", reason)


_VERDICTS: dict[str, Callable[[str, str, str, Mapping[str, Any]], str]] = {
    "passed": _champion, "promoted": _champion, "rejected": _refused, "waiting": _waiting, "registered": _registered,
    "kept": _kept, "rolled-back": _rolled_back, "unchanged": _unchanged, "forced": _forced,
}  # fmt: skip


def _name(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return model and version; the version may come as ``NAME/3``."""
    name, _, version = _one_line(facts.get("version")).rpartition("/")
    return _one_line(facts.get("model")) or name, version


def _first(reasons: Any) -> str:
    """Return the decisive reason; they come as a list, or joined as in MLflow's tags."""
    if isinstance(reasons, str):
        return _one_line(reasons.partition("; ")[0])
    return _one_line(next(iter(reasons), "")) if reasons else ""


def _one_line(value: Any) -> str:
    return str(value).strip().partition("\n")[0].strip() if value is not None else ""


def _line(model: str, said: str, why: str) -> str:
    """Join the parts to "model: what happened: why"."""
    return ": ".join(filter(None, (model or "aelif", said, why.rstrip("."))))
