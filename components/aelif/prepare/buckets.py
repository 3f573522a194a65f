"""Sizes that photos of any aspect ratio are brought to, so that little is cropped and few shapes occur."""

from __future__ import annotations

import math

MAX_RATIO = 2
"""Longest side of a bucket, in shorter sides; longer photos are cropped to it."""
LARGE = 256
"""Image size, in pixels, from which on buckets are coarse …"""
COARSE_STEP = 64
"""… their sides multiples of this, which suits every family and keeps the shapes few; …"""
FINE_STEP = 8
"""… below, sides are multiples of this: coarse steps would leave little but squares."""


def bucket_step(image_size: int) -> int:
    """Return what the sides of buckets are multiples of, in pixels."""
    return COARSE_STEP if image_size >= LARGE else FINE_STEP


def bucket_sizes(image_size: int) -> tuple[tuple[int, int], ...]:
    """Return all buckets as (width, height), narrow ones first.

    Their areas are at most image_size², as batches of squares need; one side of each is the largest
    that the other allows. Ratios lie between 1:`MAX_RATIO` and `MAX_RATIO`:1. The square of `image_size`
    is among them, whatever it is a multiple of.

    Args:
        image_size: multiple of 8, in pixels.
    """
    step, area = bucket_step(image_size), image_size**2
    sizes = {(image_size, image_size)}
    for side in range(step, image_size * MAX_RATIO + 1, step):
        other = area // side // step * step
        if max(side, other) <= MAX_RATIO * min(side, other):
            sizes |= {(side, other), (other, side)}
    return tuple(sorted(sizes, key=lambda size: (size[0] / size[1], size)))


def nearest_bucket(width: int, height: int, *, image_size: int) -> tuple[int, int]:
    """Return the bucket whose aspect ratio is nearest, as a quotient; of equally near ones the larger.

    Args:
        width: of the photo; like `height` in pixels.
        height: of the photo.
        image_size: square root of the largest area.
    """

    def order(size: tuple[int, int]) -> tuple[float, int, tuple[int, int]]:
        distance = abs(math.log(size[0] * height / (size[1] * width)))
        return round(distance, 9), -size[0] * size[1], size  # rounded: mirrored ratios are equally near

    return min(bucket_sizes(image_size), key=order)
