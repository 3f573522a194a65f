from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.report.example import SWEEP

from aelif.report.labels import place_labels
from aelif.report.tradeoff import heat_tables, pareto_front, tradeoff_rows

COORDINATE = st.integers(0, 5).map(float)
POINTS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.tuples(COORDINATE, COORDINATE), max_size=9)


@given(POINTS)
def test_no_point_beats_the_front_and_the_front_beats_the_rest(points: dict[str, tuple[float, float]]) -> None:
    front = pareto_front(points)
    for name, (x, y) in points.items():
        beaten = any((a < x and b <= y) or (a <= x and b < y) for a, b in points.values())
        assert (name in front) == (not beaten)
    line = [points[name] for name in front]
    assert line == sorted(line)
    assert [y for _, y in line] == sorted((y for _, y in line), reverse=True)


@given(st.lists(st.tuples(st.floats(150, 750), st.floats(80, 320)), max_size=8, unique=True))
def test_labels_stay_in_the_room(spots: list[tuple[float, float]]) -> None:
    places = place_labels({str(i): spot for i, spot in enumerate(spots)},
                          {str(i): (60.0, 14.0) for i in range(len(spots))}, (900.0, 400.0))  # fmt: skip
    for name, (dx, dy) in places.items():
        x, y = spots[int(name)]
        assert 30 <= x + dx <= 870
        assert 7 <= y + dy <= 393


def test_labels_of_near_points_do_not_cover_one_another() -> None:
    spots = {str(i): (400.0 + 5 * i, 200.0 - 3 * i) for i in range(7)}
    places = place_labels(spots, dict.fromkeys(spots, (70.0, 14.0)), (900.0, 400.0))
    centres = [(spots[name][0] + dx, spots[name][1] + dy) for name, (dx, dy) in places.items()]
    for i, (x, y) in enumerate(centres):
        for a, b in centres[i + 1 :]:
            assert abs(x - a) >= 70 - 1e-9 or abs(y - b) >= 14 - 1e-9


def entry(text: str, clean: float, perturbed: float) -> dict[str, Any]:
    return {"variant": text, "clean": {"value": clean}, "perturbed": {"value": perturbed}}


def test_a_grid_of_two_settings_becomes_a_table() -> None:
    variants = {text: entry(text, clean, clean + 0.1 * ease) for text, (clean, ease) in SWEEP.items()}
    clean, perturbed = heat_tables({"variants": variants})
    assert (clean.augmentation, clean.prompt_set, perturbed.prompt_set) == ("aelif_noise_conv", "clean", "perturbed")
    assert (clean.down, clean.across, clean.columns) == ("p", "σ", ("0.5", "1"))
    assert [label for label, _ in clean.rows] == ["0.1", "0.3", "0.5"]
    cells = [cell for _, row in clean.rows for cell in row if cell]
    assert [cell.heat for cell in cells if cell.cell.best] == [0]
    assert max(cell.heat for cell in cells) == 100
    del variants["aelif_noise_conv:0.3@noise_std=1"]
    assert heat_tables({"variants": variants})[0].rows[1][1][1] is None


def test_words_and_single_settings_make_no_table() -> None:
    texts = ["aelif_mask:0.1", "aelif_mask:0.3", "cep:1@eligible=all", "cep:2@eligible=content"]
    assert heat_tables({"variants": {text: entry(text, 0.8, 0.9) for text in texts}}) == []


def test_the_rows_say_who_is_on_the_front() -> None:
    variants = {"baseline": entry("baseline", 0.8, 1.0), "cep": entry("cep", 0.9, 1.1), "neftune": {"clean": None}}
    assert [(name, on_front) for name, _, _, on_front in tradeoff_rows({"variants": variants})] == [
        ("baseline", True), ("cep", False), ("neftune", False),
    ]  # fmt: skip
