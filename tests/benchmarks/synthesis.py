"""Images per second beside one stock diffusers pipeline call per prompt: `make bench-score`.

Both get the same prompts, initial latents, solver, steps and guidance, encode the prompts, and write
PNG files; opening the models is left out. Repeats are interleaved, and ratios paired: figures compare
within one run only. Images must agree: the table says by how much pixels differ at most, of 255.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

import aelif.models.miniature
from aelif.config import StressConfig, SynthesisConfig
from aelif.models.adapter import ModelAdapter
from aelif.models.pipeline import open_pipeline
from aelif.progress import StepProgress
from aelif.randomness import torch_generator
from aelif.synthesize.batches import batches_of_shard
from aelif.synthesize.sampler import open_base, write_images

WEIGHTS = Path(aelif.models.miniature.__file__).parent / "weights"
CASES = {"sdxl": ("sdxl", 256), "sd3": ("sd3", 16), "sd3-256": ("sd3", 256)}
"""Name → miniature, and tokens that stand for SD3's absent T5: the recipe's 16, and the stock pipeline's default."""
_LETTERS = "backpack"
_IMAGE_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """What one run took."""

    wall: float
    processor: float


def prompt_rows(count: int) -> list[dict[str, Any]]:
    """Return a clean prompt and misspelt ones, each with the clean one's noise."""
    texts = ["a photo of a backpack"]
    texts += [f"a photo of a {_LETTERS[:at]}{letter}{_LETTERS[at:]}" for letter in "exo" for at in range(1, 8)]
    return [
        {"prompt_id": number, "clean_id": 0, "prompt": text, "prompt_set": "perturbed" if number else "clean"}
        for number, text in enumerate(texts[:count])
    ]


def run_ours(adapter: ModelAdapter, rows: list[dict[str, Any]], config: SynthesisConfig, folder: Path) -> None:
    """Generate all images as the step does."""
    folder.mkdir()
    write_images(
        adapter, batches_of_shard(rows, config, shard=0, num_shards=1), folder, config=config, stress=StressConfig(),
        image_size=_IMAGE_SIZE, progress=_Silent("synthesize", "benchmark"),
    )  # fmt: skip


def run_stock(pipeline: Any, options: dict[str, Any], rows: list[dict[str, Any]], config: SynthesisConfig,
              folder: Path) -> None:  # fmt: skip
    """Generate all images with one pipeline call per prompt."""
    folder.mkdir()
    shape = (16, _IMAGE_SIZE // 8, _IMAGE_SIZE // 8)
    for row in rows:
        generators = [torch_generator(config.seed, "synthesize/latents", row["clean_id"], index)
                      for index in range(config.images_per_prompt)]  # fmt: skip
        images = pipeline(
            prompt=row["prompt"], num_images_per_prompt=config.images_per_prompt, height=_IMAGE_SIZE,
            width=_IMAGE_SIZE, num_inference_steps=config.steps, guidance_scale=config.guidance_scale,
            latents=torch.stack([torch.randn(shape, generator=generator) for generator in generators]), **options,
        ).images  # fmt: skip
        for index, image in enumerate(images):
            image.save(folder / f"{row['prompt_id']:05d}-{index:04d}.png")


class _Silent(StepProgress):
    def emit(self, event: str, **fields: object) -> None:
        """Say nothing."""


def timed(run: Callable[[], None]) -> Seconds:
    """Return the seconds of the wall clock and of all threads' processor time that a run takes."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return Seconds(wall=time.perf_counter() - wall, processor=time.process_time() - processor)


def largest_difference(ours: Path, stock: Path) -> tuple[int, float]:
    """Return by how much a pixel's value differs at most, of 255, and the share of values that differ."""
    names = sorted(path.name for path in ours.glob("*.png"))
    assert names == sorted(path.name for path in stock.glob("*.png"))
    gaps = [np.abs(_pixels(ours / name) - _pixels(stock / name)) for name in names]
    return max(int(gap.max()) for gap in gaps), float(np.mean([(gap > 0).mean() for gap in gaps]))


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), dtype=np.int16)


def compare(case: str, rows: list[dict[str, Any]], config: SynthesisConfig, repeats: int) -> list[str]:
    """Return one row of the table."""
    base, tokens = CASES[case]
    adapter = open_base(WEIGHTS / base, max_sequence_length=tokens)
    adapter.prepare_sampling()
    pipeline: Any = open_pipeline(WEIGHTS / base, None, dtype=torch.float32, device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    if adapter.objective == "diffusion":
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    options = {} if adapter.objective == "diffusion" else {"max_sequence_length": tokens}
    ours: list[Seconds] = []
    stock: list[Seconds] = []
    with tempfile.TemporaryDirectory() as place:
        for repeat in range(repeats + 1):
            a, b = Path(place) / f"ours-{repeat}", Path(place) / f"stock-{repeat}"
            runs = [(ours, lambda a=a: run_ours(adapter, rows, config, a)),
                    (stock, lambda b=b: run_stock(pipeline, options, rows, config, b))]  # fmt: skip
            adapter.encode_text([rows[0]["prompt"]])  # opens the text encoders, which every run of ours frees
            for times, run in runs if repeat % 2 else reversed(runs):
                times.append(timed(run))
        difference, share = largest_difference(a, b)
    pairs = list(zip(ours, stock, strict=True))[1:]  # the first is a warm-up
    images = len(rows) * config.images_per_prompt
    return [
        case,
        str(config.images_per_prompt),
        f"{images / statistics.median(theirs.wall for _, theirs in pairs):.2f}",
        f"{images / statistics.median(own.wall for own, _ in pairs):.2f}",
        f"{statistics.median(theirs.wall / own.wall for own, theirs in pairs):.2f}",
        f"{statistics.median(theirs.processor / own.processor for own, theirs in pairs):.2f}",
        str(difference),
        f"{share:.2%}",
    ]


def main() -> None:
    logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--images", nargs="+", type=int, default=[2, 4, 8], help="images per prompt")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    columns = ["model", "images per prompt", "stock images/s", "ours images/s", "ratio", "by processor time",
               "largest difference", "values that differ"]  # fmt: skip
    table = Table(*columns, title=f"{arguments.prompts} prompts, {arguments.steps} steps", title_justify="left")
    rows = prompt_rows(arguments.prompts)
    for case in arguments.base:
        for images in arguments.images:
            config = SynthesisConfig(images_per_prompt=images, steps=arguments.steps,
                                     guidance_scale=arguments.guidance, batch_size=arguments.batch_size)  # fmt: skip
            table.add_row(*compare(case, rows, config, arguments.repeats))
    Console().print(table)


if __name__ == "__main__":
    main()
