"""The world of the miniatures: emoji objects, tinted, on coloured or painted backgrounds.

Glyphs come from Noto Color Emoji (Debian package ``fonts-noto-color-emoji``, SIL Open Font
License 1.1). Everything else in a picture is drawn here, from a seeded generator.
"""

import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
GLYPH_SIZE = 109  # the one bitmap size of the font

OBJECTS = {
    "backpack": "🎒", "sneaker": "👟", "duck": "🦆", "dog": "🐶", "cat": "🐱", "teapot": "🫖",
    "boot": "👢", "candle": "🕯", "clock": "⏰", "vase": "🏺", "glasses": "👓", "bear": "🧸",
    "robot": "🤖", "car": "🚗", "hat": "🎩", "umbrella": "☂", "guitar": "🎸", "apple": "🍎",
    "cactus": "🌵", "house": "🏠", "boat": "⛵", "rocket": "🚀", "key": "🔑", "mushroom": "🍄",
}  # fmt: skip
"""Object name → glyph: the classes that the miniatures know."""

TINTS = {"red": 0.0, "orange": 0.08, "yellow": 0.15, "green": 0.36, "blue": 0.6, "purple": 0.76, "pink": 0.9}
"""Colour word of an object → hue in [0, 1)."""

BACKGROUNDS = {
    "white": (244, 244, 244), "gray": (150, 150, 152), "black": (28, 28, 32), "red": (206, 58, 56),
    "yellow": (246, 214, 84), "green": (88, 170, 96), "blue": (78, 132, 208), "purple": (146, 98, 184),
}  # fmt: skip
"""Colour word of a plain background → sRGB."""

PLACES = {
    "in the jungle": ((30, 92, 50), (18, 62, 34)),
    "in the snow": ((206, 224, 240), (248, 250, 252)),
    "on the beach": ((126, 200, 238), (234, 210, 152)),
    "in the desert": ((248, 196, 130), (214, 142, 76)),
    "on the grass": ((160, 214, 246), (104, 178, 70)),
    "at night": ((20, 24, 66), (34, 36, 54)),
}
"""Place phrase → sRGB of what is above and below the horizon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What one picture shows; `tint` None is the object's natural colour."""

    object: str
    tint: str | None
    background: str  # key of BACKGROUNDS or of PLACES


def sample_scene(generator: np.random.Generator) -> Scene:
    """Draw object, tint and background independently; half of the objects keep their colour."""
    grounds = [*BACKGROUNDS, *PLACES]
    return Scene(
        object=list(OBJECTS)[generator.integers(len(OBJECTS))],
        tint=list(TINTS)[generator.integers(len(TINTS))] if generator.random() < 0.5 else None,
        background=grounds[generator.integers(len(grounds))],
    )


MEDIA = ("a photo of", "a picture of", "an image of", "a close-up photo of", "a nice photo of", "a good picture of")


def caption(scene: Scene, generator: np.random.Generator) -> str:
    """Say what a scene shows, in varied words; now and then a detail is left out."""
    noun = f"{scene.tint} {scene.object}" if scene.tint and generator.random() < 0.9 else scene.object
    article = ("an " if noun[0] in "aeiou" else "a ") if generator.random() < 0.85 else ""
    medium = MEDIA[generator.integers(len(MEDIA))] + " " if generator.random() < 0.85 else ""
    where = ""
    if generator.random() < 0.75:
        where = " " + scene.background if scene.background in PLACES else f" on a {scene.background} background"
    return f"{medium}{article}{noun}{where}"


def glyph(name: str) -> Image.Image:
    """Return the object's glyph as tightly cropped RGBA.

    Raises:
        FileNotFoundError: if the emoji font is not installed.
    """
    if not FONT.exists():
        raise FileNotFoundError(f"{FONT} is missing: install Debian's fonts-noto-color-emoji to redraw the data")
    font = ImageFont.truetype(str(FONT), GLYPH_SIZE)
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((12, 12), OBJECTS[name], font=font, embedded_color=True)
    return canvas.crop(canvas.getbbox())


def tint_glyph(image: Image.Image, hue: float) -> Image.Image:
    """Return the glyph in another hue; shading, outline and highlights stay."""
    rgba = np.asarray(image, dtype=np.float32) / 255.0
    value = rgba[..., :3].max(-1)
    chroma = value - rgba[..., :3].min(-1)
    saturation = np.where(value > 0, chroma / np.maximum(value, 1e-6), 0.0)
    saturation = np.clip(0.45 + 0.5 * saturation, 0, 1)
    value = np.clip(0.25 + 0.75 * value, 0, 1)
    full = np.array(colorsys.hsv_to_rgb(hue, 1.0, 1.0), dtype=np.float32)
    rgb = value[..., None] * (1 - saturation[..., None] * (1 - full))
    return Image.fromarray((np.concatenate([rgb, rgba[..., 3:]], -1) * 255).round().astype(np.uint8), "RGBA")


def paint_background(name: str, size: int, generator: np.random.Generator) -> Image.Image:
    """Return a plain backdrop with a soft gradient, or a place with a horizon and some scenery."""
    rows = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    if name in BACKGROUNDS:
        shade = 1 + generator.uniform(-0.1, 0.1) * (rows - 0.5)
        plane = np.array(BACKGROUNDS[name], dtype=np.float32) * shade * generator.uniform(0.94, 1.06)
        pixels = np.broadcast_to(plane, (size, size, 3))
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    above, below = (np.array(colour, dtype=np.float32) for colour in PLACES[name])
    horizon = generator.uniform(0.5, 0.66)
    mix = np.clip((rows - horizon) * size / 3 + 0.5, 0, 1)
    pixels = np.broadcast_to(above * (1 - mix) + below * mix, (size, size, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    _scatter(image, name, horizon, generator)
    return image.filter(ImageFilter.GaussianBlur(0.6))


def _scatter(image: Image.Image, place: str, horizon: float, generator: np.random.Generator) -> None:
    """Draw a place's small things: leaves, flakes, a sun, stars."""
    draw, size = ImageDraw.Draw(image), image.width
    spots = {"in the jungle": (14, (52, 132, 66), 5.0), "in the snow": (12, (255, 255, 255), 1.3)}
    spots["at night"] = (10, (250, 246, 200), 0.9)
    if place in spots:
        count, colour, radius = spots[place]
        for _ in range(count):
            x, y = generator.uniform(0, size, 2)
            y = y * horizon if place == "at night" else y
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif place in ("on the beach", "in the desert"):
        x, y = generator.uniform(0.1, 0.9) * size, generator.uniform(0.08, 0.25) * size
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(255, 240, 170))


def render(scene: Scene, size: int, generator: np.random.Generator, glyphs: dict[str, Image.Image]) -> Image.Image:
    """Draw a scene at `size` × `size` pixels; pose, mirroring and scenery are random.

    Args:
        scene: what to show.
        size: width and height in pixels.
        generator: the source of every random choice.
        glyphs: object name → RGBA glyph, as `glyph` returns it.
    """
    scale = 2  # drawn larger, then reduced: clean edges at small sizes
    image = glyphs[scene.object]
    if scene.tint:
        image = tint_glyph(image, TINTS[scene.tint] + generator.uniform(-0.015, 0.015))
    return place_on(image, paint_background(scene.background, size * scale, generator), size, generator)


def place_on(image: Image.Image, background: Image.Image, size: int, generator: np.random.Generator) -> Image.Image:
    """Paste a glyph in a random pose on a larger background and reduce it to `size` pixels."""
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    extent = background.width * generator.uniform(0.66, 0.88)
    ratio = extent / max(image.size)
    image = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.LANCZOS)
    image = image.rotate(generator.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True)
    slack_x, slack_y = (background.width - image.width), (background.height - image.height)
    x = round(slack_x / 2 + generator.uniform(-0.06, 0.06) * background.width)
    y = round(slack_y / 2 + generator.uniform(-0.05, 0.07) * background.height)
    background.paste(image, (x, y), image)
    return background.resize((size, size), Image.Resampling.BOX)
