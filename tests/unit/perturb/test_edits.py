import pytest

from aelif.perturb import Edit, apply_edits
from aelif.perturb.edits import make_edits


def edit(start, before, after):
    return Edit(kind="test", start=start, before=before, after=after)


def test_edits_are_made_at_positions_of_the_original():
    edits = [edit(0, "a", "the"), edit(2, "ph", "f"), edit(7, "", "s"), edit(7, " of", "")]
    assert apply_edits("a photo of sks", edits) == "the fotos sks"


def test_insertions_at_both_ends():
    assert apply_edits("ab", [edit(0, "", "<"), edit(2, "", ">")]) == "<ab>"


@pytest.mark.parametrize(
    "edits",
    [
        [edit(0, "b", "")],
        [edit(0, "ab", ""), edit(1, "b", "")],
        [edit(1, "b", ""), edit(0, "a", "")],
        [edit(3, "", "x")],
    ],
    ids=["wrong before", "overlap", "order", "behind the end"],
)
def test_edits_that_do_not_fit_are_refused(edits):
    with pytest.raises(ValueError, match="does not fit 'ab'"):
        apply_edits("ab", edits)


def test_make_edits_sorts_and_keeps_the_order_at_one_place():
    result = make_edits("ab", [edit(1, "b", "y"), edit(0, "", "1"), edit(0, "", "2")])
    assert result.text == "12ay"
    assert [e.start for e in result.edits] == [0, 0, 1]
