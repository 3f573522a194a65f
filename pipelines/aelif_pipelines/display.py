"""What a person sees while a pipeline runs: one live line per working step, one mark per finished one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text


class _Rate(ProgressColumn):
    """Units per second, with the time left."""

    def render(self, task: Task) -> Text:
        if not task.total or not task.speed:
            return Text("")
        left = max(0, round((task.total - task.completed) / task.speed))
        return Text(f"{task.speed:6.1f} {task.fields['unit']}/s  {left // 60}:{left % 60:02d} left", style="dim")


class EventTail:
    """Reads what was appended to the event file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new_events(self) -> list[dict[str, Any]]:
        """Return the complete new lines, parsed."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]


class RunDisplay:
    """Shows events on a console; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            _Rate(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[tuple[str, str], tuple[TaskID, float]] = {}

    def __enter__(self) -> RunDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Update the live lines with one event."""
        key, kind = (event["step"], event["label"]), event["event"]
        name = f"[bold]{event['step']}[/] {event['label']}".rstrip()
        if kind == "start":
            task = self._progress.add_task(name, total=None, count="", unit="")
            self._tasks[key] = (task, event["time"])
        elif kind == "progress" and key in self._tasks:
            count = f"{event['done']}/{event['total']} {event['unit']}"
            self._progress.update(
                self._tasks[key][0],
                completed=event["done"],
                total=event["total"],
                count=count,
                unit=event["unit"],
            )
        elif kind == "warning":
            self._console.print(f"[yellow]![/] {name}  {escape(event['message'])}", highlight=False)
        elif kind == "due":
            held = (
                f"the champion, version {event['champion']}, is measured too"
                if event["champion"]
                else "no champion yet"
            )
            self._console.print(f"[dim]· {escape(event['message'])}; {held}[/]", highlight=False)
        elif kind == "preflight":
            needs = f"needs {event['memory_gib']:.1f} GiB and about {event['training_s']:.0f} s"
            self._console.print(f"[dim]· {name}  {needs}[/]", highlight=False)
        elif kind in ("end", "failed") and key in self._tasks:
            task, since = self._tasks.pop(key)
            self._progress.remove_task(task)
            mark = "[green]✓[/]" if kind == "end" else "[red]✗[/]"
            self._console.print(f"{mark} {name}  [dim]{event['time'] - since:.1f} s[/]", highlight=False)
