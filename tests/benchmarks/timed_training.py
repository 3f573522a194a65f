"""One training in a process of its own, with a clock on every optimizer step: ours, or a script as it is.

`train.py` starts it: `timed_training.py RECORD ours FOLDER NAME STEPS` or
`timed_training.py RECORD script PATH ARGUMENTS…`. Both are timed alike, by PyTorch's own hook on
every optimizer's `step`; nothing of the script is replaced. RECORD receives JSON.
"""

from __future__ import annotations

import atexit
import json
import runpy
import sys
import time
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_post_hook


def peak_memory_kib() -> int | None:
    """Return the largest resident size of this process so far; None where /proc does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def record_steps(path: Path) -> None:
    """Write, when the process ends, the wall and processor time at the end of each step, in seconds."""
    wall: list[float] = []
    processor: list[float] = []

    def note(*_: object) -> None:
        wall.append(time.perf_counter())
        processor.append(time.process_time())

    def write() -> None:
        path.write_text(json.dumps({
            "wall_s": wall, "processor_s": processor, "whole_processor_s": time.process_time(),
            "peak_memory_kib": peak_memory_kib(),
        }))  # fmt: skip

    register_optimizer_step_post_hook(note)
    atexit.register(write)


def train_ours(folder: Path, name: str, steps: int) -> None:
    """Do what the scripts do: photos are read and cut, class images made if need be, LoRA trained and saved."""
    from workload import PHOTOS, WORKLOADS, data_config, synthesis_config, train_config

    from aelif.config import Trial, Variant
    from aelif.prepare.photos import prepare_photos
    from aelif.progress import step_work
    from aelif.train.dreambooth import fine_tune

    work = next(work for work in WORKLOADS if work.name == name)
    base, run = folder / work.base, folder / "ours"
    data, config = data_config(), train_config(work, steps=steps)
    class_images = folder / "class-images" if work.class_images == "given" else None
    with step_work("train") as progress:
        prepare_photos([PHOTOS], run / "photos", config=data, progress=progress)
        if work.class_images == "generated":
            from aelif.synthesize.class_images import generate_class_images

            class_images = run / "class-images"
            generate_class_images(base=base, data=data, train=config, synthesis=synthesis_config(), seed=0,
                                  output=class_images, progress=progress)  # fmt: skip
        fine_tune(base=base, photos=run / "photos", class_images=class_images, output=run / "model",
                  trial=Trial(variant=Variant(), seed=0), data=data, config=config,
                  checkpoint_dir=run / "checkpoints", progress=progress)  # fmt: skip


def main() -> None:
    record, kind, *rest = sys.argv[1:]
    record_steps(Path(record))
    if kind == "ours":
        folder, name, steps = rest
        train_ours(Path(folder), name, int(steps))
    else:
        sys.argv = rest
        sys.path[0] = str(Path(rest[0]).parent)  # as if Python had been started with the script
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    main()
