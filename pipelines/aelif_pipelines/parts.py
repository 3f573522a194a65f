"""Runs the parts of a plan one after another, and writes the report over all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from aelif.artifacts import read_json, write_json
from aelif.config import RunConfig, TrackingConfig
from aelif.versions import versions
from aelif_pipelines.local import Workplace, check_inputs, run_locally
from aelif_pipelines.outcome import print_plan


def run_parts(
    parts: Mapping[str, RunConfig],
    output: Path,
    *,
    tracking: TrackingConfig,
    console: Console,
    command: str = "",
    caching: bool = True,
) -> dict[str, Any]:
    """Run every part into ``output/<part>/``, each with a report of its own, and return the summary of all.

    Also written: `summary.json`, which names the parts' own, and `report.html`. Given again, finished
    steps are reused.

    Args:
        parts: name → what to run, in this order.
        output: results go there.
        tracking: store of all of them.
        console: shows the progress.
        command: what the user typed, for the reports.
        caching: reuse the results of steps whose inputs and code did not change.

    Raises:
        ValueError: if a configuration cannot work on this machine; nothing has run then.
        RunError: if a step failed; the parts before it are finished.
        KeyboardInterrupt: after a clean stop; finished steps and checkpoints are kept.
    """
    began = time.time()
    for config in parts.values():
        check_inputs(config)
    for number, (name, config) in enumerate(parts.items(), start=1):
        place = Workplace(output=output / name, tracking=tracking)
        console.print(f"\n[bold]{escape(name)}[/] ({number} of {len(parts)})", highlight=False)
        print_plan(console, config, place.output)
        verdict = run_locally(config, place, console=console, command=command, caching=caching)["verdict"]
        console.print(f"[bold]{escape(name)}:[/] {escape(verdict['reasons'][0])}", highlight=False)
    return _summarize(list(parts), output, command=command, seconds=time.time() - began)


def _summarize(names: list[str], output: Path, *, command: str, seconds: float) -> dict[str, Any]:
    """Write report and summary of the parts, and return the summary."""
    from aelif.report.claim import mean_improvements
    from aelif.report.overview import write_overview

    write_overview(output / "report.html", parts={name: output / name for name in names})
    summaries = {name: read_json(output / name / "summary.json") for name in names}
    kinds = {kind: mean_improvements(summaries, kind=kind) for kind in ("improvement_plain", "improvement_excess")}
    summary = {
        "schema": 2,
        "parts": {name: f"{name}/summary.json" for name in names},
        "mean_improvements": {
            name: {kind: means[name] for kind, means in kinds.items()} for name in kinds["improvement_plain"]
        },
        "command": command,
        "timings": {"total_s": round(seconds, 2)},
        "versions": versions(),
    }
    write_json(output / "summary.json", summary)
    return summary
