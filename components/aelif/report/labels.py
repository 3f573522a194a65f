"""Where the labels of a plot's points go, so that none covers another or a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

_MARKER = 7.0
_RADII = (0.0, 9.0, 20.0, 34.0, 50.0, 70.0)
_ANGLES = (45, 315, 135, 225, 0, 180, 90, 270)

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def place_labels(
    spots: Mapping[str, tuple[float, float]],
    sizes: Mapping[str, tuple[float, float]],
    room: tuple[float, float],
) -> dict[str, tuple[float, float]]:
    """Return name → offset of the label's centre from its point.

    Greedy: in order, each label takes the nearest of a few places, first upwards to the right, where it covers no
    point and no earlier label and stays in the room; if all fail, the nearest place there is.

    Args:
        spots: name → (x, y) of its point.
        sizes: name → (width, height) of its label.
        room: width and height; its lower left corner is (0, 0).
    """
    points = [(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in spots.values()]
    taken: list[Box] = []
    places: dict[str, tuple[float, float]] = {}
    for name, (x, y) in spots.items():
        width, height = sizes[name]
        candidates = list(_candidates(width, height))
        fitting = (
            (dx, dy)
            for dx, dy in candidates
            for box in [(x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2)]
            if box[0] >= 0 and box[1] >= 0 and box[2] <= room[0] and box[3] <= room[1]
            if not any(_overlap(box, other) for other in (*points, *taken))
        )
        dx, dy = places[name] = next(fitting, candidates[0])
        taken.append((x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2))
    return places


def _candidates(width: float, height: float) -> Iterator[tuple[float, float]]:
    for radius in _RADII:
        for angle in _ANGLES:
            cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            yield (
                cosine * (_MARKER + 4 + radius) + _sign(cosine) * width / 2,
                sine * (_MARKER + 4 + radius) + _sign(sine) * height / 2,
            )


def _sign(number: float) -> float:
    return 0.0 if abs(number) < 1e-9 else math.copysign(1.0, number)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
