"""Follow a run on a cluster to its end, for hours: the server may restart, the network go, the token change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from aelif_pipelines.cluster import Cluster, ClusterError, clear_errors
from aelif_pipelines.states import RunState, read_states
from aelif_pipelines.steps import Task, expand

EVERY_S = 5.0
LONGEST_WAIT_S = 60.0
PATIENCE_S = 1800.0
"""How long the server may stay away: a restart, a new port-forward, an expired login."""
_TIMEOUT_S = (5, 30)
_TRANSIENT = frozenset({0, 401, 408, 425, 429, 500, 502, 503, 504})
"""Answers that may be others in a minute; 401 where a token is renewed just now, or a person logs in again."""
_LATE_DETAILS = 3
"""Looks after the end: the server is told of a run's end before that of its steps."""

Answer = TypeVar("Answer")
End = Literal["succeeded", "failed", "canceled"]


class LostServerError(ClusterError):
    """The server stayed away; the run goes on, what becomes of it is unknown."""


class Display(Protocol):
    """Shows a run to a person, or to a log."""

    def show(self, state: RunState) -> None:
        """Show what has changed."""

    def tell(self, message: str) -> None:
        """Say something about the following itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended."""

    end: End
    state: RunState
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time, which tests make pass at once."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def follow(cluster: Cluster, run_id: str, display: Display, *, clock: Clock | None = None) -> Ended:
    """Show a run until it ends.

    Raises:
        ClusterError: if the server refuses, or knows no such run.
        LostServerError: if it stays away for `PATIENCE_S`.
    """
    clock = clock or Clock()

    def look() -> Any:
        return _ask(cluster, lambda: _get(cluster, run_id), display, clock)

    run = look()
    graph = _ask(cluster, lambda: _graph(cluster, run), display, clock)
    canceled = False
    while True:
        state = read_states(_details(run), graph)
        display.show(state)
        canceled = canceled or _canceled(run)
        if str(run.state) in ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"):
            break
        clock.sleep(EVERY_S)
        run = look()
    for _ in range(_LATE_DETAILS):
        if not any(step.state == "running" for step in state.steps):
            break
        clock.sleep(EVERY_S)
        state = read_states(_details(look()), graph)
        display.show(state)
    succeeded = str(run.state) in ("SUCCEEDED", "SKIPPED")
    return Ended(
        end="succeeded" if succeeded else "canceled" if canceled else "failed",
        state=state,
        name=str(run.display_name),
    )


def _ask(cluster: Cluster, question: Callable[[], Answer], display: Display, clock: Clock) -> Answer:
    """Return what the server says, once it answers."""
    since: float | None = None
    wait = EVERY_S
    while True:
        try:
            answer = question()
            if since is not None:
                display.tell("The server answers again.")
            return answer
        except (ApiException, HTTPError, OSError) as error:  # OSError: the token's file, while it is replaced
            with clear_errors(cluster.host):
                if isinstance(error, ApiException) and (error.status or 0) not in _TRANSIENT:
                    raise
            fault = _fault(error)
        now = clock.now()
        if since is None:
            since = now
            display.tell(f"The server does not answer ({fault}); the run goes on. Trying again for "
                         f"{PATIENCE_S / 60:.0f} minutes.")  # fmt: skip
        if now - since > PATIENCE_S:
            raise LostServerError(f"Kubeflow Pipelines at {cluster.host}: no answer for {PATIENCE_S / 60:.0f} minutes "
                                  f"({fault}); the run goes on there")  # fmt: skip
        clock.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_S)


def _get(cluster: Cluster, run_id: str) -> Any:
    """Return the run."""
    run = cluster.client.runs.run_service_get_run(run_id, _request_timeout=_TIMEOUT_S)
    if not run.run_id:  # the client takes a login page for an empty answer
        raise ApiException(status=401, reason="a page, perhaps a login")
    return run


def _fault(error: Exception) -> str:
    if isinstance(error, ApiException):
        hint = "; is the token valid still?" if error.status == 401 else ""
        return f"{error.status} {error.reason}{hint}"
    if isinstance(error, HTTPError):
        return "no connection; does the port-forward run still?"
    return str(error)


def _details(run: Any) -> list[Any]:
    return list((run.run_details and run.run_details.task_details) or ())


def _canceled(run: Any) -> bool:
    """Tell whether somebody stopped it: Kubeflow calls such a run FAILED in the end, but remembers."""
    history = [str(status.state) for status in run.state_history or ()]
    return bool({"CANCELING", "CANCELED"} & {str(run.state), *history})


def _graph(cluster: Cluster, run: Any) -> Task:
    """Return the run's steps, from the package that it was made of."""
    package = run.pipeline_spec
    reference = run.pipeline_version_reference
    if not package and reference and reference.pipeline_version_id:
        package = cluster.client.pipelines.pipeline_service_get_pipeline_version(
            reference.pipeline_id, reference.pipeline_version_id, _request_timeout=_TIMEOUT_S
        ).pipeline_spec
    spec: Mapping[str, Any] = (package or {}).get("pipeline_spec", package or {})
    if "root" not in spec:
        raise ClusterError(f"run {run.run_id}: its pipeline is gone from the server, so its steps are unknown; look at "
                           "it in Kubeflow's page")  # fmt: skip
    return expand(spec, (run.runtime_config and run.runtime_config.parameters) or {})
