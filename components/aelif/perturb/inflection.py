"""English nouns and verbs of prompts, and their other forms: regular rules and small tables of what is not regular."""

from __future__ import annotations

import re
from functools import lru_cache

_IRREGULAR_PLURALS = """
man men  woman women  child children  person people  mouse mice  foot feet  tooth teeth  goose geese
leaf leaves  knife knives  wolf wolves  shelf shelves  scarf scarves  half halves  loaf loaves
potato potatoes  tomato tomatoes  hero heroes  glass glasses
"""

_NOUNS = """
photo photograph picture image painting drawing portrait sketch illustration rendering snapshot poster print
background foreground scene view close-up camera lens frame canvas style artist
backpack bag sneaker duck dog cat teapot boot candle clock vase glass bear robot car hat umbrella guitar apple
cactus house boat rocket key mushroom toy animal bowl can plushie cup mug bottle box shoe chair table lamp book
ball doll bike bicycle train plane truck ship bird horse cow fish fox wolf rabbit mouse flower plant tree leaf
fruit banana orange cake pizza hamburger computer phone watch ring necklace shirt dress jacket scarf cartoon
monster sloth sunglass emoji statue sculpture figure boy girl man woman child person face hand eye foot
jungle forest beach desert mountain field garden park street road sidewalk city town village room kitchen floor
wall window door roof bridge river lake sea ocean island sky cloud star moon sun rug mirror carpet shelf bed
sofa desk tower castle museum shop store market school knife wheel wing tooth flag fire
"""

_IRREGULAR_VERBS = """
sit sat sat sitting  stand stood stood standing  wear wore worn wearing  hold held held holding  eat ate eaten eating
lie lay lain lying  run ran run running  drink drank drunk drinking  sleep slept slept sleeping  fly flew flown flying
swim swam swum swimming  drive drove driven driving  ride rode ridden riding  take took taken taking
make made made making  draw drew drawn drawing  fall fell fallen falling  hang hung hung hanging
leave left left leaving  see saw seen seeing  show showed shown showing  give gave given giving
write wrote written writing  break broke broken breaking  lean leaned leaned leaning  read read read reading
catch caught caught catching  throw threw thrown throwing  build built built building  burn burnt burnt burning
sing sang sung singing  shine shone shone shining  grow grew grown growing  spread spread spread spreading
is was been being  are were been being  has had had having  does did done doing
"""

_REGULAR_VERBS = """
paint photograph look smile play walk jump float carry place cover surround fill decorate color colour shape cook
open close pose wait watch render illustrate sketch print design pack park dance climb rest relax travel point
face stack fold wrap knit light glow rain snow dress style frame crop blur zoom feature include contain display
depict capture create use love like live work stare gaze drop stop hug pull push kick lift touch wash dry bake
"""

_OFTEN_NOUNS = """
paint photograph look smile play walk jump float place cover color colour shape cook close pose watch sketch
print design pack park dance climb rest travel point face stack fold wrap light glow rain snow dress style
frame crop blur zoom feature display use love like live work stare gaze drop stop hug pull push kick lift touch
wash dry lean run drink sleep swim drive ride draw fall show break read catch throw build burn spread open fly
leave left saw wait render lie lay sing shine painting drawing rendering building lighting light lights
"""

_OFTEN_NO_VERBS = """
ceiling morning evening wedding clothing lightning spring string king wing ring thing something nothing anything
everything earring pudding awning during sterling viking duckling hundred sacred naked wicked indeed red bed shed
sled kindred
"""

_NOUN_FIRST = frozenset(_OFTEN_NOUNS.split())
"""Forms that are nouns, adjectives or prepositions as often as verbs: no sign of a verb by themselves."""

_NO_VERBS = frozenset(_OFTEN_NO_VERBS.split())
"""Words in -ing and -ed that are no forms of a verb."""

_VOWELS = "aeiou"


def plural_of(noun: str) -> str:
    """Return the regular plural of a noun in small letters."""
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def _read_nouns() -> dict[str, str]:
    """Return each noun's other number, both ways."""
    words = _IRREGULAR_PLURALS.split()
    plurals = dict(zip(words[::2], words[1::2], strict=True))
    nouns = dict.fromkeys([*plurals, *_NOUNS.split()])
    pairs = {noun: plurals.get(noun) or plural_of(noun) for noun in nouns if noun != "fish"}
    return {**{plural: noun for noun, plural in pairs.items()}, **pairs}


OTHER_NUMBER = _read_nouns()
"""Noun → its plural, or its singular where it is one."""


def _s_form(verb: str) -> str:
    """Return the third person's form."""
    return verb if verb in ("is", "are", "has", "does") else plural_of(verb)


def _doubles(verb: str) -> bool:
    """Return whether the last letter is doubled before an ending: one short vowel before one consonant (stop)."""
    return bool(re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", verb))


def regular_forms(verb: str) -> tuple[str, str, str, str]:
    """Return base, past, participle and -ing form of a regular verb."""
    if verb.endswith("e"):
        return verb, verb + "d", verb + "d", (verb if verb.endswith("ee") else verb[:-1]) + "ing"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb, verb[:-1] + "ied", verb[:-1] + "ied", verb + "ing"
    stem = verb + verb[-1] if _doubles(verb) else verb
    return verb, stem + "ed", stem + "ed", stem + "ing"


def _read_verbs() -> list[tuple[str, ...]]:
    """Return base, past, participle, -ing form and s-form of every verb."""
    words = _IRREGULAR_VERBS.split()
    rows = list(zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True))
    rows += [regular_forms(verb) for verb in _REGULAR_VERBS.split()]
    return [(*row, _s_form(row[0])) for row in rows]


_VERBS = _read_verbs()
_BY_FORM = {
    form: tuple(dict.fromkeys(other for other in row if other != form))
    for row in reversed(_VERBS)
    for form in row
    if form not in _NOUN_FIRST and form not in OTHER_NUMBER
}

OTHER_PERSON = {"is": "are", "are": "is", "was": "were", "were": "was", "has": "have", "have": "has", "does": "do",
                "do": "does", "this": "these", "these": "this", "those": "that", "its": "their", "their": "its"} | {
    form: other
    for row in _VERBS
    if len(row[0]) > 3 or row[0] in ("sit", "eat", "see")
    for form, other in ((row[0], row[4]), (row[4], row[0]))
    if form not in _NOUN_FIRST and form not in OTHER_NUMBER and other != form
}  # fmt: skip
"""Verb or demonstrative → its form for the other number."""


@lru_cache(maxsize=4096)
def other_verb_forms(word: str) -> tuple[str, ...]:
    """Return the other forms of a verb in small letters, none where the word is no sure form of one.

    Words outside the table are taken for verbs by their ending: -ing becomes -ed, and the reverse.
    """
    if word in _BY_FORM:
        return _BY_FORM[word]
    is_noun = word in OTHER_NUMBER or word in _NO_VERBS or word in _NOUN_FIRST
    if is_noun or not (word.isascii() and word.isalpha()):
        return ()
    stem, ending = word[:-3], word[-3:]
    if ending == "ing" and len(stem) >= 3 and re.search(f"[{_VOWELS}y]", stem):
        return (f"{stem}ed",)
    stem, ending = word[:-2], word[-2:]
    if ending == "ed" and len(stem) >= 3 and re.search(f"[{_VOWELS}y]", stem) and not stem.endswith("e"):
        return (f"{stem}ing",)
    return ()
