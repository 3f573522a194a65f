"""Errors as people write them: the paper's own typos, and a table of misspellings beside them.

"poto", "phoo" and "phto" are the examples of arXiv 2506.07706; the rest of the table was written by
hand for words common in prompts. Words outside it lose, double or transpose a letter in their
middle, where people err most: the first and the last letter stay.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.spans import Span, choose, find_letter_runs

if TYPE_CHECKING:
    import numpy as np

_TABLE = """
photo       poto phoo phto pohto phtoo foto
photograph  photgraph photograh fotograph photogaph
picture     picutre pitcure pictrue pictre picure
image       iamge imgae imge imagge
painting    paintng paitning paintig
drawing     drawng darwing drawin
portrait    portait potrait portriat
background  backround backgroud bakground backgorund
close       cloes clsoe
nice        ncie niec
good        godo goood
with        wiht wtih wth
and         adn nad
the         teh hte
front       fornt frnt
backpack    bakpack backpak bacpack backpcak
sneaker     sneker snaeker sneakr sneeker
duck        dukc duk ducck dcuk
dog         dgo doog dogg
cat         cta caat catt
teapot      teapto tepot taepot teaopt
boot        booot bott boto
candle      candel cnadle cadle candlle
clock       clcok colck clokc clok
vase        vaes vaase vsae
glasses     glases glassess galsses glasess
bear        baer beaar berr
robot       robto rbot roboot robt
car         carr acr craa
hat         hatt aht htat
umbrella    umbrela umberella umbrlela umbrellla
guitar      guitr gutiar giutar guiter
apple       aple appel appple aplpe
cactus      catcus cactsu cactuss kaktus
house       huose hosue houes housse
boat        baot boatt botat
rocket      rokcet rocet rockt rokket
key         kye keey ky
mushroom    mushrom musroom mushoom mushrooom
toy         tooy tyo
stuffed     stufed stuffd sutffed
animal      anmial animl aniaml
flower      flwoer flowr folwer
chair       chiar chari cahir
table       tabel talbe tabble
bottle      botle bottel bottl
shoe        sheo shoee hsoe
red         rde redd
orange      oragne orang orenge
yellow      yelow yellwo yelllow
green       gren geren grean
blue        bleu bule blu
purple      purpel pruple purle
pink        pnik pinkk
white       whtie wite wihte
black       blakc balck blck
gray        garay gary graay
grey        gery greey
brown       bronw brwon borwn
jungle      jungel jugnle jungl
forest      forrest foerst forst
snow        snwo sonw snoww
beach       beahc baech beech
desert      dessert desrt deseert
grass       gras garss grasss
night       nigth nihgt nght
mountain    mountian moutain montain
water       watre watter wter
"""

MISSPELLINGS = {word: tuple(wrong) for word, *wrong in map(str.split, _TABLE.strip().splitlines())}
"""Word, in small letters → its misspellings."""

SHORTEST_RULED = 4
"""Letters a word outside the table must have: of shorter ones nothing would be left to read."""


def paper(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Misspell a share of the words in the table or of at least `SHORTEST_RULED` letters; capitals stay capitals."""
    words = [run for run in find_letter_runs(text, protected) if _spell(run).lower() in MISSPELLINGS or _slips(run)]
    edits = []
    for run in choose(words, severity, generator):
        word = _spell(run)
        options = [("misspelling", wrong) for wrong in MISSPELLINGS.get(word.lower(), ())] or _slips(run)
        kind, after = options[int(generator.integers(len(options)))]
        edits.append(Edit(kind=kind, start=run[0].start, before=word, after=_match_case(after, word)))
    return make_edits(text, edits)


def _slips(run: tuple[Span, ...]) -> list[tuple[str, str]]:
    """Return (kind, wrong word) for every letter of the middle lost, doubled or transposed."""
    if len(run) < SHORTEST_RULED:
        return []
    letters = [letter.text for letter in run]
    middle = range(1, len(letters) - 1)
    lost = [("drop", "".join(letters[:at] + letters[at + 1 :])) for at in middle]
    doubled = [("double", "".join(letters[: at + 1] + letters[at:])) for at in middle]
    moved = [
        ("transpose", "".join([*letters[:a], letters[b], letters[a], *letters[b + 1 :]]))
        for a, b in pairwise(middle)
        if letters[a] != letters[b]
    ]
    return lost + doubled + moved


def _spell(run: tuple[Span, ...]) -> str:
    return "".join(letter.text for letter in run)


def _match_case(word: str, model: str) -> str:
    """Return a word of the table written as its model is: in capitals, with a capital, or as it stands."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if model[0].isupper() and word[0].islower() else word
