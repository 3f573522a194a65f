"""The shipped example subjects: things of the miniatures' world, each with a sign by which it is told from its like."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from PIL import ImageDraw

from aelif.models.miniature.scenes import glyph, paint_background, place_on, tint_glyph
from aelif.randomness import numpy_generator

GROUNDS = ("white", "on the beach", "gray", "on the grass", "yellow", "in the snow")
"""One photo before each."""


def _star(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Put a star on the backpack's pocket."""
    center, radius = (width * 0.5, height * 0.68), width * 0.2
    corners = []
    for corner in range(10):
        angle, reach = math.pi * (corner / 5 - 0.5), radius * (1 if corner % 2 == 0 else 0.45)
        corners.append((center[0] + reach * math.cos(angle), center[1] + reach * math.sin(angle)))
    draw.polygon(corners, fill=(255, 214, 40, 255), outline=(150, 100, 0, 255))


def _nose(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Give the dog a clown's nose."""
    x, y, radius = width * 0.5, height * 0.56, width * 0.13
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(226, 30, 44, 255), outline=(130, 10, 20, 255))


def _stripe(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Paint a racing stripe on the car's front."""
    draw.rectangle((width * 0.4, height * 0.46, width * 0.6, height * 0.8), fill=(250, 250, 250, 255))
    draw.rectangle((width * 0.47, height * 0.46, width * 0.53, height * 0.8), fill=(210, 30, 40, 255))


SUBJECTS: dict[str, tuple[float, Callable[[ImageDraw.ImageDraw, int, int], None]]] = {
    "backpack": (0.76, _star),
    "dog": (0.6, _nose),
    "car": (0.36, _stripe),
}
"""Object → hue in [0, 1) and what draws its sign: a purple backpack with a yellow star, a blue dog with a red nose, a
green car with a racing stripe: a thing, an animal and a vehicle."""


def draw_subject(name: str, output: Path, *, size: int = 256, seed: int = 7) -> None:
    """Draw an example subject as six photos, `00.jpg` to `05.jpg`."""
    hue, sign = SUBJECTS[name]
    subject = tint_glyph(glyph(name), hue)
    sign(ImageDraw.Draw(subject), subject.width, subject.height)
    output.mkdir(parents=True, exist_ok=True)
    for index, ground in enumerate(GROUNDS):
        generator = numpy_generator(seed, "miniature/subject", index)
        photo = place_on(subject, paint_background(ground, size, generator), size, generator)
        photo.save(output / f"{index:02d}.jpg", quality=92)
