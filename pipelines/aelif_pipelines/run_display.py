"""What a person sees of a run on a cluster: on a terminal the working steps, live; in a log a line for each change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from aelif_pipelines.states import ENDED, RunState, StepState

_MARKS = {"succeeded": "[green]✓[/]", "cached": "[green]=[/]", "failed": "[red]✗[/]", "skipped": "[dim]–[/]"}
_AGAIN_S = 900.0
"""A log hears of a run that does not change, too: else it looks dead."""


class RunDisplay:
    """Shows states on a console; a context manager."""

    def __init__(self, console: Console, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._console, self._now = console, now
        self._seen: dict[tuple[str, str], StepState] = {}
        self._state: RunState | None = None
        self._spoke = now()
        self._live = (
            Live(get_renderable=self._working, console=console, refresh_per_second=1, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> RunDisplay:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, state: RunState) -> None:
        """Print what has changed since the last time."""
        before, self._state = self._state, state
        for step in state.steps:
            old = self._seen.get(step.key)
            self._seen[step.key] = step
            if old is None or (old.state, old.attempts) != (step.state, step.attempts):
                self._print(step, state)
        waited = before.waiting if before else 0
        if not self._live and state.waiting and not waited:
            self._say(f"  {_waiting(state)}")
        if not self._live and self._now() - self._spoke > timedelta(seconds=_AGAIN_S):
            working = [f"{step.name} {step.label}".strip() for step in state.steps if step.state == "running"]
            self._say(f"  {state.done}/{len(state.steps)} steps; at work: {', '.join(working) or 'Kubeflow'}")

    def tell(self, message: str) -> None:
        """Print a line about the following itself."""
        self._say(f"[yellow]![/] {escape(message)}")

    def _print(self, step: StepState, state: RunState) -> None:
        name = f"[bold]{step.name}[/] {escape(step.label)}".rstrip()
        if step.state in ENDED:
            took = "cached" if step.state == "cached" else duration(step.took) if step.took is not None else ""
            again = f", {step.attempts} attempts" if step.attempts > 1 else ""
            self._say(f"{_MARKS[step.state]} {name}  [dim]{took}{again}  {state.done}/{len(state.steps)}[/]")
        elif step.state == "running" and step.attempts > 1:
            self._say(f"[yellow]![/] {name}  attempt {step.attempts}")
        elif step.state == "running" and not self._live:
            self._say(f"  {name}  started")

    def _say(self, line: str) -> None:
        self._spoke = self._now()
        stamp = "" if self._live else f"[dim]{self._spoke:%H:%M:%S}[/] "
        self._console.print(stamp + line, highlight=False, soft_wrap=not self._live)

    def _working(self) -> RenderableType:
        """Return the live lines: steps at work, and how far the run is."""
        if self._state is None:
            return ""
        table = Table.grid(padding=(0, 2))
        for step in self._state.steps:
            if step.state == "running" and step.began:
                table.add_row("  ", step.name, escape(step.label), duration(self._now() - step.began))
        count = len(self._state.steps)
        line = Table.grid(padding=(0, 2))
        line.add_row("  ", ProgressBar(total=count or 1, completed=self._state.done, width=24),
                     f"{self._state.done}/{count} steps", _waiting(self._state))  # fmt: skip
        return Group(table, line)


def _waiting(state: RunState) -> str:
    if not state.waiting:
        return ""
    return "1 pod waits for a machine" if state.waiting == 1 else f"{state.waiting} pods wait for a machine"


def duration(took: timedelta) -> str:
    """Return a time as people say it: ``41 s``, ``12 min 5 s``, ``3 h 20 min``."""
    seconds = max(0, round(took.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds // 60 % 60} min"
