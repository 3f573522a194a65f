"""Sizes for photos of any shape."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aelif.prepare.buckets import MAX_RATIO, bucket_sizes, bucket_step, nearest_bucket

SIZES = st.integers(2, 192).map(lambda n: 8 * n)
SIDES = st.integers(1, 12_000)


def all_sizes(image_size: int) -> list[tuple[int, int]]:
    """Return, by brute force, the allowed sizes that cannot grow both in width and in height."""
    step, sides = bucket_step(image_size), range(bucket_step(image_size), 2 * image_size + 1, bucket_step(image_size))
    allowed = [(w, h) for w in sides for h in sides if w * h <= image_size**2]
    square = [(image_size, image_size)] * (image_size % step > 0)
    return square + [
        (w, h) for w, h in allowed if max(w, h) <= 2 * min(w, h) and not {(w + step, h), (w, h + step)} <= set(allowed)
    ]


def test_known_buckets():
    assert bucket_sizes(64) == ((48, 80), (56, 72), (64, 64), (72, 56), (80, 48))
    sdxl = bucket_sizes(1024)
    assert {(1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)} <= set(sdxl)
    assert (704, 1408) in sdxl, "the tallest allowed"


@pytest.mark.parametrize("image_size", [16, 64, 120, 256, 360, 1000, 1024])
def test_they_are_those_of_a_brute_force_search(image_size):
    assert sorted(bucket_sizes(image_size)) == sorted(all_sizes(image_size))


@settings(max_examples=40, deadline=None)
@given(SIZES)
def test_area_ratio_and_multiples(image_size):
    step, sizes = bucket_step(image_size), bucket_sizes(image_size)
    assert (image_size, image_size) in sizes
    for width, height in sizes:
        assert width % step == height % step == 0 or (width, height) == (image_size, image_size)
        assert 1 / MAX_RATIO <= width / height <= MAX_RATIO
        # The longer side is at most √2 image_size, and one step more of the shorter exceeds the area, or the reverse.
        assert image_size**2 - step * math.sqrt(MAX_RATIO) * image_size <= width * height <= image_size**2
        assert (height, width) in sizes


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, SIZES)
def test_the_ratio_is_the_closest(width, height, image_size):
    chosen = nearest_bucket(width, height, image_size=image_size)
    distances = {size: abs(math.log(size[0] / size[1]) - math.log(width / height)) for size in bucket_sizes(image_size)}
    assert distances[chosen] <= min(distances.values()) + 1e-8
    mirrored = nearest_bucket(height, width, image_size=image_size)
    assert chosen[0] * chosen[1] == mirrored[0] * mirrored[1]


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 9))
def test_a_photo_of_a_bucket_s_ratio_gets_that_ratio(image_size, scale):
    for width, height in bucket_sizes(image_size):
        chosen = nearest_bucket(width * scale, height * scale, image_size=image_size)
        assert chosen[0] * height == chosen[1] * width
