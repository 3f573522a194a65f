"""Words for the same thing: no error to a reader, another prompt to a model that knows one of them only.

The table was written by hand for words common in prompts. Where the optional package wn is
installed and holds an English wordnet (`python -m wn download oewn:2024`), words outside the table
have the synonyms of their first sense.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import util
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import match_case
from aelif.perturb.scope import EVERYWHERE, Scope
from aelif.perturb.spans import Span, choose, find_terms, pick

if TYPE_CHECKING:
    import numpy as np

_TABLE = """
photo: photograph, snapshot, pic, picture        photograph: photo, snapshot, picture
picture: image, photo, pic                       image: picture, photo, visual
snapshot: photo, snap, shot                      painting: canvas, artwork, picture
drawing: sketch, illustration, doodle            sketch: drawing, outline, doodle
portrait: likeness, headshot                     illustration: drawing, artwork
rendering: visualisation, render                 poster: placard, print
background: backdrop, setting                    scene: view, setting
close-up: macro, detail shot                     view: vista, sight
red: crimson, scarlet                            orange: tangerine, amber
yellow: golden, lemon                            green: emerald, lime
blue: azure, cobalt                              purple: violet, lilac
pink: rosy, magenta                              white: ivory, snowy
black: ebony, jet-black                          gray: silvery, ashen
grey: silvery, ashen                             brown: tan, chestnut
big: large, huge                                 large: big, huge
small: little, tiny                              little: small, tiny
tiny: minute, small                              nice: pleasant, lovely
good: fine, great                                great: excellent, superb
beautiful: pretty, lovely                        pretty: beautiful, lovely
cute: adorable, sweet                            old: aged, ancient
new: recent, modern                              shiny: glossy, gleaming
wet: soaked, damp                                bright: vivid, luminous
dark: gloomy, dim                                happy: cheerful, glad
realistic: lifelike, true-to-life                detailed: intricate, elaborate
wooden: timber, wood                             colorful: vibrant, multicolored
backpack: rucksack, knapsack, bag                bag: sack, pouch
sneaker: trainer, running shoe, shoe             boot: shoe, wellington
shoe: footwear, trainer                          duck: mallard, waterfowl
dog: hound, canine, pooch                        cat: feline, kitty
kitten: kitty, young cat                         puppy: pup, young dog
bear: bruin, grizzly                             animal: creature, beast
teapot: tea kettle, pot                          cup: mug, beaker
mug: cup, tankard                                bowl: dish, basin
bottle: flask, carafe                            vase: urn, pot
candle: taper, wax light                         clock: timepiece, watch
watch: timepiece, wristwatch                     glasses: spectacles, eyeglasses
sunglasses: shades, dark glasses                 robot: android, automaton
car: automobile, auto                            truck: lorry, pickup
boat: ship, vessel                               ship: vessel, boat
bicycle: bike, cycle                             plane: aircraft, airplane
hat: cap, headgear                               umbrella: parasol, brolly
toy: plaything, figurine                         plushie: stuffed toy, soft toy
stuffed: plush, padded                           doll: figurine, puppet
house: home, cottage                             building: structure, edifice
castle: fortress, palace                         chair: seat, stool
table: desk, board                               sofa: couch, settee
rug: carpet, mat                                 carpet: rug, mat
mirror: looking glass, glass                     lamp: light, lantern
flower: blossom, bloom                           tree: sapling, timber
mushroom: toadstool, fungus                      rocket: spaceship, missile
cartoon: comic, animation                        person: human, individual
man: guy, gentleman                              woman: lady, female
child: kid, youngster                            boy: lad, youngster
girl: lass, young woman                          face: visage, countenance
jungle: rainforest, tropical forest              forest: woods, woodland
beach: seashore, shore                           desert: wasteland, dunes
mountain: peak, mount                            hill: mound, rise
field: meadow, pasture                           grass: lawn, turf
garden: yard, backyard                           street: road, avenue
road: street, lane                               sidewalk: pavement, footpath
city: town, metropolis                           village: hamlet, small town
room: chamber, space                             floor: ground, flooring
sea: ocean, water                                ocean: sea, deep
lake: pond, water                                river: stream, creek
sky: heavens, air                                snow: snowfall, white powder
rain: rainfall, shower                           night: nighttime, dark
sunset: dusk, sundown                            sunrise: dawn, daybreak
sitting: seated, perched                         standing: upright, on its feet
holding: gripping, carrying                      wearing: dressed in, sporting
floating: drifting, hovering                     running: racing, dashing
sleeping: dozing, napping                        eating: munching, having
looking: gazing, peering                         smiling: grinning, beaming
near: close to, by                               under: beneath, below
beside: next to, by                              behind: in back of, at the back of
"""


def _read_table() -> dict[str, tuple[str, ...]]:
    """Return word → synonyms; cells of a line stand two spaces or more apart."""
    cells = (cell for line in _TABLE.strip().splitlines() for cell in line.split("  ") if cell.strip())
    pairs = (cell.strip().split(": ") for cell in cells)
    return {word: tuple(others.split(", ")) for word, others in pairs}


SYNONYMS = _read_table()
"""Word, in small letters → words and phrases for the same."""

_SHORTEST = 4
"""Letters of a word that is looked up in a wordnet: it has senses for "a" and "in" that no prompt means."""


def synonym(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Say words otherwise; severity is the share of the words with a synonym."""
    terms, sites = find_terms(text, scope), []
    for index, (word, is_open) in enumerate(terms):
        if is_open and (others := synonyms_of(word.text.lower())):
            before = terms[index - 1] if index else None
            article = before[0] if before and before[1] and before[0].text.lower() in ("a", "an") else None
            sites.append((word, others, article))
    chosen = choose(sites, severity, generator)
    return make_edits(
        text, [_replace(text, word, pick(others, generator), article) for word, others, article in chosen]
    )


def _replace(text: str, word: Span, synonym: str, article: Span | None) -> Edit:
    """Return the edit that says a word otherwise; "an image" becomes "a picture"."""
    start, after = word.start, match_case(synonym, word.text)
    if article and (synonym[0] in "aeiou") != (word.text[0].lower() in "aeiou"):
        start = article.start
        right = match_case("an" if synonym[0] in "aeiou" else "a", article.text)
        after = f"{right}{text[article.end : word.start]}{after}"
    return Edit(kind="synonym", start=start, before=text[start : word.end], after=after)


def synonyms_of(word: str) -> tuple[str, ...]:
    """Return the synonyms of a word in small letters: the table's, else those of an installed wordnet, if any."""
    if word in SYNONYMS:
        return SYNONYMS[word]
    return _look_up(word) if len(word) >= _SHORTEST and word.isalpha() else ()


@lru_cache(maxsize=4096)
def _look_up(word: str) -> tuple[str, ...]:
    """Return the single words, in small letters, that share the first English sense of a word in a wordnet."""
    if util.find_spec("wn") is None:
        return ()
    import wn

    if not wn.config.database_path.is_file() or not wn.lexicons(lang="en"):
        return ()  # asked without this, wn would make an empty database
    senses = wn.synsets(word, lang="en")[:1]
    lemmas = {str(lemma) for sense in senses for lemma in sense.lemmas()} - {word}
    return tuple(sorted(lemma for lemma in lemmas if lemma.isalpha() and lemma.islower()))
