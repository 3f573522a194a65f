"""Photos for the tests."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def scene() -> Callable[..., Image.Image]:
    """Return a function: seed → a smooth random RGB image, unlike that of any other seed."""
    return draw_scene


def draw_scene(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Return a smooth random RGB image, unlike that of any other seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
