"""Our trainer against diffusers' DreamBooth scripts, on the miniatures: `make bench-train`.

Both train the same LoRA on the same photos with the same settings, each command in a process of its
own, by turns. Prints a Markdown table and writes `build/bench-train.json`. End to end is from the
start of the process until the LoRA is on disk; a step is the time between two calls of the
optimizer. Ratios are taken between neighbouring runs: the machine's mood hits both. Processor time
is what the process computed, whatever else ran.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from augmentation_cost import augmentation_cost
from workload import WORKLOADS, Workload, script_arguments, write_class_images, write_model

SCRIPTS_VARIABLE = "AELIF_DIFFUSERS_SCRIPTS"
OUTPUT = Path("build/bench-train.json")
LORA_FILE = "pytorch_lora_weights.safetensors"
_WARM_UP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one command took."""

    wall_s: float
    """From the start of the process to the saved LoRA."""
    processor_s: float
    """Processor time of the whole process."""
    step_ms: float
    """Median wall time of a step after warm-up."""
    step_processor_ms: float
    peak_mib: float


def find_scripts(given: str | None) -> Path | None:
    """Return the folder of diffusers' scripts: given, named by the environment, or of a source checkout."""
    import diffusers

    checkout = Path(diffusers.__file__).parents[2] / "examples" / "dreambooth"
    candidates = [Path(given)] if given else [Path(os.environ.get(SCRIPTS_VARIABLE) or checkout), checkout]
    scripts = {work.script for work in WORKLOADS}
    return next((folder.resolve() for folder in candidates if all((folder / s).exists() for s in scripts)), None)


def say_what_is_missing() -> None:
    """Print where the scripts come from."""
    version = importlib.metadata.version("diffusers")
    scripts = sorted({work.script for work in WORKLOADS})
    print(f"skipped: diffusers' DreamBooth scripts are not here ({', '.join(scripts)}). Fetch them with\n")
    print("  mkdir -p build/diffusers-scripts && cd build/diffusers-scripts")
    print("  curl -fsSLO --remote-name-all https://raw.githubusercontent.com/huggingface/diffusers/"
          f"v{version}/examples/dreambooth/{{{','.join(scripts)}}}\n")  # fmt: skip
    print(f"and name the folder: --scripts build/diffusers-scripts, or {SCRIPTS_VARIABLE}.")


def train_once(command: list[str], *, lora: Path, record: Path, threads: int) -> Run:
    """Run one training and return what it took.

    Raises:
        RuntimeError: if it fails; with the end of what it said.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    child = [sys.executable, str(Path(__file__).with_name("timed_training.py")), str(record), *command]
    began = time.time()
    done = subprocess.run(child, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode or not lora.exists():
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    clock = json.loads(record.read_text())
    return Run(
        wall_s=lora.stat().st_mtime - began, processor_s=clock["whole_processor_s"],
        step_ms=_step_ms(clock["wall_s"]), step_processor_ms=_step_ms(clock["processor_s"]),
        peak_mib=(clock["peak_memory_kib"] or 0) / 1024,
    )  # fmt: skip


def _step_ms(ends_s: list[float]) -> float:
    """Return the median time between the ends of steps, the first ones left out, in milliseconds."""
    later = ends_s[_WARM_UP:]
    return 1e3 * median(after - before for before, after in pairwise(later))


def compare(work: Workload, folder: Path, scripts: Path, *, steps: int, threads: int) -> dict[str, Run]:
    """Train with ours, then with the script, and return what each took."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        for shared in (work.base, "class-images"):
            (scratch / shared).symlink_to(folder / shared)
        pictures = folder / "pictures" if work.class_images == "given" else scratch / "pictures"
        arguments = script_arguments(
            work, steps=steps, model=folder / work.base, class_images=pictures, output=scratch / "theirs"
        )
        ours = ["ours", str(scratch), work.name, str(steps)]
        theirs = ["script", str(scripts / work.script), *arguments]
        record = scratch / "record.json"
        return {
            "ours": train_once(ours, lora=scratch / "ours" / "model" / LORA_FILE, record=record, threads=threads),
            "script": train_once(theirs, lora=scratch / "theirs" / LORA_FILE, record=record, threads=threads),
        }


def figures_of(work: Workload, pairs: list[dict[str, Run]], *, steps: int) -> dict[str, Any]:
    """Return a comparison's figures; a ratio above 1 says that ours is faster, or smaller."""
    names = [field.name for field in fields(Run)]
    figures: dict[str, Any] = {"workload": work.name, "batch_size": work.batch_size}
    for who in ("ours", "script"):
        taken = [pair[who] for pair in pairs]
        figures[who] = {
            "images_per_s": steps * work.batch_size / median(run.wall_s for run in taken),
            **{name: median(getattr(run, name) for run in taken) for name in names},
        }
    figures["ratios"] = {
        name: median(getattr(pair["script"], name) / getattr(pair["ours"], name) for pair in pairs) for name in names
    }
    figures["runs"] = [{who: asdict(run) for who, run in pair.items()} for pair in pairs]
    return figures


def markdown(comparisons: list[dict[str, Any]], cost: dict[str, dict[str, float]], *, steps: int) -> str:
    """Return both tables."""
    lines = [
        f"LoRA of rank 16, 64 px, {steps} steps, float32 on the CPU. Figures: ours / the script's (ratio).",
        "",
        "| training | batch | images/s, end to end | by processor time | ms per step | by processor time | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for figures in comparisons:
        ours, theirs, ratios = figures["ours"], figures["script"], figures["ratios"]
        cells = [
            f"{ours['images_per_s']:.2f} / {theirs['images_per_s']:.2f} ({ratios['wall_s']:.2f}×)",
            f"{ratios['processor_s']:.2f}×",
            f"{ours['step_ms']:.1f} / {theirs['step_ms']:.1f} ({ratios['step_ms']:.2f}×)",
            f"{ratios['step_processor_ms']:.2f}×",
            f"{ours['peak_mib']:.0f} / {theirs['peak_mib']:.0f}",
        ]
        lines.append(f"| {figures['workload']} | {figures['batch_size']} | {' | '.join(cells)} |")
    lines += ["", "| AELIF on SDXL | ms per step | of which prompts | added |", "|---|---|---|---|"]
    for name, taken in cost.items():
        cells = [name, f"{taken['step_ms']:.1f}", f"{taken['condition_ms']:.2f}", f"{taken['added_percent']:+.2f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(arguments: argparse.Namespace, scripts: Path) -> None:
    """Run the comparisons, write the JSON and print the tables."""
    chosen = [work for work in WORKLOADS if arguments.only in work.name]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        write_class_images(folder / "pictures", folder / "class-images")
        for base in sorted({"sdxl", *(work.base for work in chosen)}):
            write_model(base, folder / base)
        comparisons = []
        for work in chosen:
            pairs = []
            for repeat in range(arguments.repeats):
                print(f"{work.name}, {repeat + 1} of {arguments.repeats} …", file=sys.stderr, flush=True)
                pairs.append(compare(work, folder, scripts, steps=arguments.steps, threads=arguments.threads))
            comparisons.append(figures_of(work, pairs, steps=arguments.steps))
        cost = augmentation_cost(folder / "sdxl", folder / "cost", steps=max(30, arguments.steps // 3))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"settings": vars(arguments), "comparisons": comparisons, "aelif": cost}, indent=2))
    print(markdown(comparisons, cost, steps=arguments.steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripts", help=f"folder with diffusers' examples/dreambooth scripts (or {SCRIPTS_VARIABLE})")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of both trainers; 1 is the least noisy")
    parser.add_argument("--only", default="", help="only workloads whose name contains this")
    arguments = parser.parse_args()
    if arguments.steps < 2 * _WARM_UP:
        parser.error(f"--steps = {arguments.steps}: give at least {2 * _WARM_UP}, the first {_WARM_UP} only warm up")
    scripts = find_scripts(arguments.scripts)
    if scripts is None:
        say_what_is_missing()
    else:
        measure(arguments, scripts)


if __name__ == "__main__":
    main()
