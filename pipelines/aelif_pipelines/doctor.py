"""What this machine offers a run, and what it lacks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from aelif_pipelines.versions import versions

MIN_FREE_BYTES = 2 * 2**30
"""Room that the quickstart and its tracking store need, with a margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was looked at, what was found, and the remedy where it is not as it should be."""

    subject: str
    found: str
    ok: bool = True
    remedy: str = ""


def examine(output: Path) -> list[Finding]:
    """Run every check; nothing is left behind."""
    checks: list[Callable[[Path], Finding]] = [_libraries, _machine, _gpu, _writable, _room, _models]
    return [check(output) for check in checks]


def print_findings(console: Console, findings: list[Finding]) -> None:
    """Print a line for each, with the remedy under those that failed."""
    for finding in findings:
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        console.print(f"{mark} [bold]{finding.subject}[/]  {escape(finding.found)}", highlight=False)
        if not finding.ok:
            console.print(f"    → {escape(finding.remedy)}", highlight=False)


def _libraries(_: Path) -> Finding:
    return Finding(subject="versions", found=", ".join(f"{name} {version}" for name, version in versions().items()))


def _machine(_: Path) -> Finding:
    import psutil

    gigabytes = psutil.virtual_memory().total / 2**30
    return Finding(
        subject="machine",
        found=f"{os.cpu_count()} cores, {gigabytes:.0f} GiB of memory",
        ok=gigabytes >= 4,
        remedy="the quickstart wants about 4 GiB; close other programs or take a larger machine",
    )


def _gpu(_: Path) -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(subject="GPU", found="none: fine for the miniatures; SDXL wants one")
    properties = torch.cuda.get_device_properties(0)
    return Finding(subject="GPU", found=f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")


def _writable(output: Path) -> Finding:
    existing = next(folder for folder in [output.resolve(), *output.resolve().parents] if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Finding(subject="output", found=f"{output} can be written")
    except OSError as error:
        remedy = "choose another folder with --output, or mend its permissions"
        return Finding(subject="output", found=f"{existing}: {error.strerror}", ok=False, remedy=remedy)


def _room(output: Path) -> Finding:
    existing = next(folder for folder in [output.resolve(), *output.resolve().parents] if folder.exists())
    free = shutil.disk_usage(existing).free
    return Finding(
        subject="disk",
        found=f"{free / 2**30:.1f} GiB free",
        ok=free >= MIN_FREE_BYTES,
        remedy="free some space: a run wants about 2 GiB",
    )


def _models(_: Path) -> Finding:
    from aelif.models.resolve import BUILTIN_MODELS, builtin_folder

    names = ", ".join(f"builtin:{name}" for name in BUILTIN_MODELS)
    try:
        for name in BUILTIN_MODELS:
            builtin_folder(name)
    except ValueError as error:
        return Finding(subject="packaged models", found=names, ok=False, remedy=str(error))
    return Finding(subject="packaged models", found=names)
