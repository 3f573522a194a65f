import numpy as np
import pytest

from aelif.perturb import keyboards
from aelif.perturb.keyboards import NEIGHBOURS


def outcomes(function, text):
    return {function(text, 0.01, np.random.default_rng(seed)).text for seed in range(300)}


@pytest.mark.parametrize(
    ("layout", "key", "neighbours"),
    [
        ("qwerty", "g", "tyfhvb"),
        ("qwerty", "a", "qwsz"),
        ("qwerty", "q", "wa"),
        ("qwerty", "p", "ol"),
        ("qwerty", "l", "opk"),
        ("qwerty", "z", "asx"),
        ("qwerty", "m", "jkn"),
        ("qwerty", "s", "weadzx"),
        ("qwertz", "t", "rzfg"),
        ("qwertz", "z", "tugh"),
        ("qwertz", "y", "asx"),
        ("qwertz", "l", "opkö"),
        ("azerty", "a", "zq"),
        ("azerty", "m", "pl"),
        ("azerty", "w", "qsx"),
        ("dvorak", "p", "yeu"),
        ("dvorak", "o", "aeq"),
        ("dvorak", "z", "sv"),
    ],
)
def test_neighbours_as_on_the_keyboard(layout, key, neighbours):
    assert set(NEIGHBOURS[layout][key]) == set(neighbours)


@pytest.mark.parametrize("layout", NEIGHBOURS)
def test_neighbourhood_is_mutual_and_covers_the_alphabet(layout):
    table = NEIGHBOURS[layout]
    assert sorted(set(table) - set("üöä")) == list("abcdefghijklmnopqrstuvwxyz")
    assert all(key in table[other] for key, others in table.items() for other in others)
    assert all(table.values())


def test_one_error_hits_a_neighbour_in_the_letters_case():
    assert outcomes(keyboards.keyboard, "qp") == {"wp", "ap", "qo", "ql"}
    assert outcomes(keyboards.keyboard, "Q") == {"W", "A"}
    assert outcomes(keyboards.keyboard_azerty, "a1") == {"z1", "q1"}
    assert outcomes(keyboards.keyboard_qwertz, "P") == {"O", "Ü", "L", "Ö"}
    assert outcomes(keyboards.keyboard_dvorak, "Y") == {"P", "F", "U", "I"}
    assert outcomes(keyboards.keyboard, "рюкзак") == {"рюкзак"}


def test_half_severity_hits_half_of_the_letters():
    for seed in range(10):
        assert len(keyboards.keyboard("a photo of sks backpack", 0.5, np.random.default_rng(seed)).edits) == 10
