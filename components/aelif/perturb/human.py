"""Errors as people write them: the paper's typos, a table of misspellings, and codespell's dictionary.

"poto", "phoo" and "phto" are the examples of arXiv 2506.07706 for "photo": in each of them one
inner letter is lost, and there are no others. So that is the rule for every word of `paper`. The
table was written by hand for words common in prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import resources, util
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import match_case
from aelif.perturb.scope import EVERYWHERE, Scope
from aelif.perturb.spans import choose, find_letter_runs, pick, spell

if TYPE_CHECKING:
    import numpy as np

SHORTEST = 4
"""Letters of the words that `paper` hits: of shorter ones nothing would be left to read."""

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


def paper(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Lose one inner letter of words of at least `SHORTEST` letters; severity is the share of those words hit."""
    runs = [run for run in find_letter_runs(text, scope) if len(run) >= SHORTEST]
    edits = []
    for run in choose(runs, severity, generator):
        letter = run[1 + int(generator.integers(len(run) - 2))]
        edits.append(Edit(kind="delete", start=letter.start, before=letter.text, after=""))
    return make_edits(text, edits)


def misspelling(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Misspell words of the table `MISSPELLINGS`; severity is the share of those words hit."""
    return _misspell(text, severity, generator, scope=scope, find=lambda word: MISSPELLINGS.get(word, ()))


def codespell(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Misspell words as codespell's dictionary has seen it done; severity is the share of the words in it hit.

    Raises:
        ValueError: if the optional package codespell is not installed.
    """
    table = read_codespell()
    return _misspell(text, severity, generator, scope=scope, find=lambda word: table.get(word, ()))


def has_codespell() -> bool:
    """Return whether the optional package is installed."""
    return util.find_spec("codespell_lib") is not None


@lru_cache(maxsize=1)
def read_codespell() -> dict[str, tuple[str, ...]]:
    """Return right word → its misspellings, from the dictionary of the installed package.

    Lines that name several right words are left out, for which was meant is not known, and those
    whose right word is a phrase. The dictionary (GPL, CC BY-SA 3.0) is
    read where it lies; no part of it is in this package.

    Raises:
        ValueError: if codespell is not installed.
    """
    if not has_codespell():
        raise ValueError("families = 'codespell': it reads the dictionary of the package codespell, which is not "
                         "installed; run `pip install 'aelif[codespell]'`")  # fmt: skip
    dictionary = resources.files("codespell_lib") / "data" / "dictionary.txt"
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    for line in dictionary.read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition("->")
        if before.isalpha() and after.isalpha():
            wrong[after.lower()].append(before.lower())
    return {word: tuple(sorted(set(found))) for word, found in wrong.items()}


def _misspell(
    text: str,
    severity: float,
    generator: np.random.Generator,
    *,
    scope: Scope,
    find: Callable[[str], Sequence[str]],
) -> Perturbed:
    """Replace a share of the words that `find` knows misspellings of; capitals stay capitals."""
    known = [run for run in find_letter_runs(text, scope) if find(spell(run).lower())]
    edits = []
    for run in choose(known, severity, generator):
        word = spell(run)
        after = match_case(pick(find(word.lower()), generator), word)
        edits.append(Edit(kind="misspelling", start=run[0].start, before=word, after=after))
    return make_edits(text, edits)
