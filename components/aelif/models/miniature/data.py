"""Rendered scenes and captions as arrays: the data that the miniatures are pretrained on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file

from aelif.models.miniature.architecture import IMAGE_SIZE
from aelif.models.miniature.scenes import OBJECTS, Scene, caption, glyph, render, sample_scene
from aelif.randomness import numpy_generator

if TYPE_CHECKING:
    from torch import Tensor

NUM_TRAIN, NUM_HELD_OUT, NUM_CAPTIONS = 24_000, 384, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """Images (N, 64, 64, 3) uint8 with, for each, its scene and several captions."""

    images: np.ndarray
    scenes: list[Scene]
    captions: list[list[str]]


def draw_scenes(count: int, *, seed: int, split: str) -> Scenes:
    """Render `count` scenes; scene `i` of a split depends on (seed, split, i) alone."""
    glyphs = {name: glyph(name) for name in OBJECTS}
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    scenes, captions = [], []
    for index in range(count):
        generator = numpy_generator(seed, f"miniature/{split}", index)
        scene = sample_scene(generator)
        images[index] = np.asarray(render(scene, IMAGE_SIZE, generator, glyphs))
        scenes.append(scene)
        captions.append([caption(scene, generator) for _ in range(NUM_CAPTIONS)])
    return Scenes(images=images, scenes=scenes, captions=captions)


def write_scenes(folder: Path, data: Scenes) -> None:
    """Write `images.safetensors` and `scenes.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = zip(data.scenes, data.captions, strict=True)
    lines = [json.dumps({**asdict(scene), "captions": captions}) for scene, captions in rows]
    (folder / "scenes.jsonl").write_text("\n".join(lines) + "\n")
    save_file({"images": data.images}, folder / "images.safetensors")


def read_scenes(folder: Path) -> Scenes:
    """Read what `write_scenes` wrote."""
    rows = [json.loads(line) for line in (folder / "scenes.jsonl").read_text().splitlines()]
    captions = [row.pop("captions") for row in rows]
    images = load_file(folder / "images.safetensors")["images"]
    return Scenes(images=images, scenes=[Scene(**row) for row in rows], captions=captions)


def to_pixels(images: np.ndarray) -> Tensor:
    """Return (B, 3, H, W) float32 in [-1, 1] from (B, H, W, 3) uint8."""
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_images(pixels: Tensor) -> np.ndarray:
    """Return (B, H, W, 3) uint8 from (B, 3, H, W) in [-1, 1]."""
    scaled: np.ndarray = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return scaled
