"""What this machine, or a container image, offers a run, and what it lacks.

`python -m aelif.doctor` examines the machine, `--image cpu` or `--image gpu` an image while it is built.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

import aelif
from aelif.versions import versions

MIN_FREE_BYTES = 2 * 2**30
"""Room that the quickstart and its tracking store need, with a margin."""

CACHE_VARIABLES = (
    "HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR", "TRITON_CACHE_DIR",
    "AELIF_MODEL_CACHE", "AELIF_SPOOL",
)  # fmt: skip
"""What tells libraries where they may write, beside the folders of artifacts."""

BUILD_TOOLS = ("cc", "gcc", "g++", "clang", "make", "ld", "git", "pip", "curl", "wget")
"""What a step never needs, and an intruder would like to find."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was looked at, what was found, and the remedy where it is not as it should be."""

    subject: str
    found: str
    ok: bool = True
    remedy: str = ""
    looked: bool = True
    """False: it could not be looked at from here, which is no fault; the remedy says how it can be."""


def examine(output: Path) -> list[Finding]:
    """Run every check of a machine; nothing is left behind."""
    checks: list[Callable[[], Finding]] = [
        _libraries, _machine, _gpu, lambda: _writable(output), lambda: _room(output), _caches, _models,
    ]  # fmt: skip
    return [check() for check in checks]


def examine_image(kind: Literal["cpu", "gpu"]) -> list[Finding]:
    """Run every check of a container image, which needs no GPU; nothing is left behind."""
    checks: list[Callable[[], Finding]] = [
        _libraries, lambda: _lock(kind), lambda: _torch(kind), _bytecode, _caches, _unprivileged, _tools, _models,
    ]  # fmt: skip
    return [check() for check in checks]


def print_findings(console: Console, findings: list[Finding]) -> None:
    """Print a line for each, with the remedy under those that failed or could not be made."""
    for finding in findings:
        mark = "[red]✗[/]" if not finding.ok else "[green]✓[/]" if finding.looked else "[yellow]?[/]"
        console.print(f"{mark} [bold]{finding.subject}[/]  {escape(finding.found)}", highlight=False)
        if finding.remedy and not (finding.ok and finding.looked):
            console.print(f"    → {escape(finding.remedy)}", highlight=False)


# ── Machine and image ──────────────────────────────────────────────────────────────────────────


def _libraries() -> Finding:
    return Finding(subject="versions", found=", ".join(f"{name} {version}" for name, version in versions().items()))


def _caches() -> Finding:
    """Write a file in each folder that libraries cache in, or where it would be made."""
    folders = {os.environ[name] for name in CACHE_VARIABLES if os.environ.get(name)} | {tempfile.gettempdir()}
    refused = [folder for folder in sorted(folders) if _write_error(Path(folder))]
    if refused:
        found = f"{', '.join(refused)} cannot be written by user {os.getuid()}"
        remedy = "mount a writable volume there (fsGroup 10001 in a pod), or set the variable to a folder that is"
        return Finding(subject="caches", found=found, ok=False, remedy=remedy)
    return Finding(subject="caches", found=f"{', '.join(sorted(folders))} can be written")


def _models() -> Finding:
    from aelif.models.names import BUILTIN_MODELS, builtin_folder

    names = ", ".join(f"builtin:{name}" for name in BUILTIN_MODELS)
    try:
        for name in BUILTIN_MODELS:
            builtin_folder(name)
    except ValueError as error:
        return Finding(subject="packaged models", found=names, ok=False, remedy=str(error))
    return Finding(subject="packaged models", found=names)


def _write_error(folder: Path) -> str:
    """Return why no file can be made in `folder`, or in what of its path exists; "" if one can."""
    existing = next(path for path in [folder.resolve(), *folder.resolve().parents] if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"{existing}: {error.strerror}"


# ── Machine ────────────────────────────────────────────────────────────────────────────────────


def _machine() -> Finding:
    import psutil

    gigabytes = psutil.virtual_memory().total / 2**30
    return Finding(
        subject="machine",
        found=f"{os.cpu_count()} cores, {gigabytes:.0f} GiB of memory",
        ok=gigabytes >= 4,
        remedy="the quickstart wants about 4 GiB; close other programs or take a larger machine",
    )


def _gpu() -> Finding:
    if find_spec("torch") is None:
        return Finding(subject="GPU", found="not looked for: PyTorch is not installed, so no step here can use one")
    import torch

    if not torch.cuda.is_available():
        return Finding(subject="GPU", found="none: fine for the miniatures; SDXL wants one")
    properties = torch.cuda.get_device_properties(0)
    return Finding(subject="GPU", found=f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")


def _writable(output: Path) -> Finding:
    if error := _write_error(output):
        remedy = "choose another folder with --output, or mend its permissions"
        return Finding(subject="output", found=error, ok=False, remedy=remedy)
    return Finding(subject="output", found=f"{output} can be written")


def _room(output: Path) -> Finding:
    existing = next(folder for folder in [output.resolve(), *output.resolve().parents] if folder.exists())
    free = shutil.disk_usage(existing).free
    return Finding(
        subject="disk",
        found=f"{free / 2**30:.1f} GiB free",
        ok=free >= MIN_FREE_BYTES,
        remedy="free some space: a run wants about 2 GiB",
    )


# ── Image ──────────────────────────────────────────────────────────────────────────────────────


def _lock(kind: str) -> Finding:
    """Hold every installed package's requirements against what is installed, as `pip check` does."""
    wrong = sorted(_unmet(may_lack=("aelif",) if kind == "cpu" else ()))
    remedy = "mend constraints.txt and build the image again"
    if wrong:
        return Finding(subject="packages", found="; ".join(wrong), ok=False, remedy=remedy)
    count = sum(1 for _ in metadata.distributions())
    return Finding(subject="packages", found=f"{count}, each with what it requires")


def _unmet(*, may_lack: tuple[str, ...]) -> Iterator[str]:
    """Yield what packages require and do not find; those in `may_lack` may lack a package, but not have a wrong one."""
    from packaging.requirements import Requirement

    for package in metadata.distributions():
        for text in package.requires or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            try:
                installed = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                if package.name not in may_lack:
                    yield f"{package.name} requires {requirement.name}, which is missing"
                continue
            if not requirement.specifier.contains(installed, prereleases=True):
                yield f"{package.name} requires {requirement.name} {requirement.specifier}, not {installed}"


def _torch(kind: str) -> Finding:
    """A GPU image without CUDA would train on the CPU for days; a CPU image with it would be 5 GB larger."""
    has_torch = find_spec("torch") is not None
    if kind == "cpu":
        remedy = "leave it out: images/requirements.py lists what the image holds"
        return Finding(subject="PyTorch", found="installed" if has_torch else "none", ok=not has_torch, remedy=remedy)
    if not has_torch:
        return Finding(subject="PyTorch", found="none", ok=False, remedy="install it: it is in constraints.txt")
    import torch

    built = torch.version.cuda
    found = f"{torch.__version__} built for {f'CUDA {built}' if built else 'the CPU alone'}"
    return Finding(subject="PyTorch", found=found, ok=built is not None, remedy="install a build with CUDA")


def _bytecode() -> Finding:
    """A step on a read-only root would compile anew, at every start, what it imports and finds no bytecode of."""
    specs = [find_spec(name) for name in ("json", "kfp", "aelif")]
    sources = [spec.origin for spec in specs if spec and spec.origin]
    lacking = [source for source in sources if not Path(cache_from_source(source)).is_file()]
    return Finding(
        subject="bytecode",
        found=f"none of {', '.join(lacking)}" if lacking else "of the standard library, libraries and our code",
        ok=not lacking,
        remedy="compile it in the build, as images/install.sh does",
    )


def _unprivileged() -> Finding:
    """The user of a step is not root and cannot change the code that it runs."""
    code = Path(aelif.__file__).parent
    if os.getuid() == 0:
        return Finding(subject="user", found="root", ok=False, remedy="set USER 10001:10001 in the Dockerfile")
    can_write = [str(path) for path in (code, Path(sys.prefix)) if os.access(path, os.W_OK)]
    return Finding(
        subject="user",
        found=f"{os.getuid()}:{os.getgid()}, may write {', '.join(can_write) or 'neither code nor libraries'}",
        ok=not can_write,
        remedy="leave what is installed to root",
    )


def _tools() -> Finding:
    present = [tool for tool in BUILD_TOOLS if shutil.which(tool)]
    return Finding(
        subject="build tools",
        found=", ".join(present) or "none",
        ok=not present,
        remedy="take a base image without them, or remove them in the final stage",
    )


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that runs would write to.")] = Path("outputs"),
    image: Annotated[str, typer.Option(help="cpu or gpu: examine the container image instead.")] = "",
) -> None:
    """Print what is found; the exit status is 1 if something is not as it should be."""
    if image not in ("", "cpu", "gpu"):
        raise typer.BadParameter(f"{image!r}: cpu or gpu", param_hint="--image")
    findings = examine_image("gpu" if image == "gpu" else "cpu") if image else examine(output)
    print_findings(Console(), findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
