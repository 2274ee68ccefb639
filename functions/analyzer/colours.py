"""Colours by the names that people use.

A colour is called what the nearest example is called, in OKLab with doubled colour axes, where equal
distances look about equally large (Ottosson 2020, https://bottosson.github.io/posts/oklab/; the
doubling is CSS Color 4's deltaEOK2).
"""

import math
from functools import cache, lru_cache

Lab = tuple[float, float, float]
"""Lightness 0 to 1, green to red, blue to yellow; colours of pictures reach 0.3 from the grey axis."""

GREYS = {
    "black": ["#000000", "#141414"],
    "dark grey": ["#3c3c3c", "#505050"],
    "grey": ["#707070", "#8c8c8c"],
    "light grey": ["#a8a8a8", "#c8c8c8"],
    "white": ["#ececec", "#ffffff"],
}
HUES = {
    "blue-grey": ["#5f7185", "#8796a8"],
    "beige": ["#d9c8a9", "#c4ad8c", "#b89b85"],
    "cream": ["#f4ead0"],
    "brown": ["#8a5a34", "#70462a", "#99704e", "#75624f"],
    "dark brown": ["#40261a", "#2a1a12", "#4d3a2c"],
    "red": ["#cc2222", "#e03a30", "#b01c24", "#c9473f"],
    "dark red": ["#6e1414", "#521010"],
    "pink": ["#f2a7b5", "#f7c6d0", "#ee6fa3", "#c98a8f", "#e58f88"],
    "magenta": ["#c2188f", "#e033c0"],
    "purple": ["#6a2c91", "#8a4fc0", "#3d1f5c"],
    "lavender": ["#b8a6dc", "#d3c8ec"],
    "orange": ["#f08a24", "#e8661a", "#cc5a1e", "#e2683f", "#e87c5a"],
    "peach": ["#f4b98a", "#e9a777"],
    "yellow": ["#f5d90a", "#f2e35c", "#e3c52e"],
    "olive": ["#6b6b2a", "#4a4d22", "#8f8c4a"],
    "green": ["#2e9e3f", "#5f9e34", "#3f7d3a", "#22c022"],
    "dark green": ["#0a5c1a", "#1d4526", "#14301c", "#2f4a2c"],
    "light green": ["#a3d977", "#c4e6a8", "#7bd68a"],
    "teal": ["#147878", "#0e4a4f", "#0b2f36", "#2f8f8a"],
    "turquoise": ["#3ccfc4", "#8fe3dc"],
    "light blue": ["#a8cdec", "#cfe3f4", "#6fb4e8"],
    "blue": ["#2464d0", "#3f7fcf", "#2222e0", "#3b6ea5"],
    "dark blue": ["#16264f", "#0b1530", "#27406e"],
}
KIN = (
    {"black"},
    {"dark grey"},
    {"grey", "light grey"},
    {"white"},
    {"beige", "cream", "brown", "dark brown"},
    {"red", "dark red"},
    {"pink", "magenta"},
    {"purple", "lavender"},
    {"orange", "peach"},
    {"yellow"},
    {"olive", "green", "dark green", "light green"},
    {"teal", "turquoise"},
    {"blue-grey", "light blue", "blue", "dark blue"},
)
"""Names between which nobody would say "and"."""

GREY_CHROMA = 0.012
"""Below, no hue is seen."""


@lru_cache(maxsize=65_536)
def oklab(red: int, green: int, blue: int) -> Lab:
    """Return the OKLab coordinates of an sRGB colour of 8 bits a channel."""
    r, g, b = (_linear(channel) for channel in (red, green, blue))
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    medium = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _linear(channel: int) -> float:
    value = channel / 255
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


@cache
def _examples(grey: bool) -> list[tuple[str, Lab]]:
    return [
        (name, oklab(*bytes.fromhex(example.removeprefix("#"))))
        for name, examples in (GREYS if grey else GREYS | HUES).items()
        for example in examples
    ]


@lru_cache(maxsize=65_536)
def name(lab: Lab) -> str:
    """Return what a colour is called."""
    light, a, b = lab
    return min(
        _examples(math.hypot(a, b) < GREY_CHROMA),
        key=lambda example: (
            (light - example[1][0]) ** 2 + 4 * (a - example[1][1]) ** 2 + 4 * (b - example[1][2]) ** 2
        ),
    )[0]
