"""Photos of any shape brought to one size."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aelif.prepare.crop import crop_to


def test_the_central_square_is_taken():
    image = Image.new("RGB", (200, 100), "red")
    image.paste("blue", (50, 0, 150, 100))
    assert crop_to(image, (64, 64)).getcolors() == [(64 * 64, (0, 0, 255))]
    left = crop_to(image, (100, 100), centre=(0.0, 0.5))
    assert left.getpixel((10, 50)) == (255, 0, 0)
    assert left.getpixel((90, 50)) == (0, 0, 255)


def test_only_what_exceeds_the_ratio_is_cut_off():
    image = Image.new("RGB", (220, 100), "red")
    image.paste("blue", (10, 0, 210, 100))
    assert crop_to(image, (96, 48)).getcolors() == [(96 * 48, (0, 0, 255))]
    wider = crop_to(image, (105, 50))
    assert wider.getpixel((0, 25))[0] > 200, "of the same ratio but for 10 of 220 pixels: 5 of the 10 red ones remain"
    assert wider.getpixel((104, 25))[0] > 200


def test_nothing_is_distorted():
    image = Image.new("L", (300, 200))
    yy, xx = np.mgrid[:200, :300]
    image = Image.fromarray((((xx - 150) ** 2 + (yy - 100) ** 2 < 60**2) * 255).astype(np.uint8))
    for size in [(64, 64), (80, 48), (48, 80)]:
        inside = np.asarray(crop_to(image, size)) > 127
        assert abs(int(inside.any(0).sum()) - int(inside.any(1).sum())) <= 1, "the disc stays round"


def test_a_square_of_the_right_size_is_not_resampled(scene):
    image = scene(0, (64, 64))
    assert np.array_equal(crop_to(image, (64, 64)), image)


@settings(deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([(16, 16), (8, 16), (16, 9)]),
)
def test_a_plain_image_stays_plain_whatever_its_shape(width, height, x, y, size):
    cropped = crop_to(Image.new("RGB", (width, height), (9, 90, 200)), size, centre=(x, y))
    assert cropped.getcolors() == [(size[0] * size[1], (9, 90, 200))]
