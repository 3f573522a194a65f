"""From a photo of any shape to the size that is trained on."""

from __future__ import annotations

from PIL import Image


def crop_to(image: Image.Image, size: tuple[int, int], *, centre: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Return the largest part of an image that has the aspect ratio of `size`, resized to it with Lanczos.

    Args:
        image: of any size.
        size: width and height of the result, in pixels.
        centre: where the part's centre shall be, as shares of width and height; kept inside the image.
    """
    scale = min(length / wanted for length, wanted in zip(image.size, size, strict=True))
    part = [max(1, round(wanted * scale)) for wanted in size]
    left, top = (
        min(max(round(share * length - side / 2), 0), length - side)
        for share, length, side in zip(centre, image.size, part, strict=True)
    )
    cut = image.crop((left, top, left + part[0], top + part[1]))  # resize(box=…) would let the outside bleed in
    return cut.resize(size, Image.Resampling.LANCZOS)
