"""What can be measured of a picture without recognising anything in it.

The limits were set by looking at the pictures of scikit-image and scikit-learn, variants of them
(blurred, darkened, toned, without colour), charts, pages and screenshots beside what was said of them.
"""

import io
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from functions.analyzer import colours

if TYPE_CHECKING:
    from PIL import Image

Kind = Literal["photograph", "black-and-white photograph", "graphic", "document"]
Format = Literal["square", "wide", "upright", "panoramic"]

COLOUR_EDGE = 72
SURFACE_EDGE = 512
FOCUS_EDGE = 800
"""Pixels of the longer side on which colours, surfaces and focus are measured."""


@dataclass(frozen=True)
class Colour:
    """A named colour, its share of the picture (0 to 1) and its mean chroma (0 to about 0.3)."""

    name: str
    share: float
    chroma: float


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        colours: largest share first.
        light: very dark, dark, medium, bright, very bright.
        contrast: low, medium, high.
        saturation: none, tinted (one hue, little of it), muted, natural, vivid.
        temperature: warm, cool, or None where neither prevails.
        focus: blurry, soft, sharp, grainy; None where there is nothing to judge it by.
        detail: none, little, moderate, rich.
    """

    kind: Kind
    format: Format
    colours: tuple[Colour, ...]
    light: str
    contrast: str
    saturation: str
    temperature: str | None
    focus: str | None
    detail: str


@dataclass(frozen=True)
class _Tones:
    """Chroma and hue, over all pixels. `one_hue` is 1 when all colour points the same way."""

    lightness: float
    chroma: float
    strong_chroma: float
    one_hue: float
    warm: float
    cool: float
    coloured: float


@dataclass(frozen=True)
class _Surfaces:
    """Shares of pixels, and the spread of greys.

    By how much they differ from their neighbours: not at all (`still`), hardly (`smooth`), visibly
    (`textured`), sharply (`edges`). `few_levels` lie on the four commonest of 256 levels of grey. Of
    those `inside`, neither black nor white, `few_inside` lie on four levels and `still_inside` do not
    differ at all. `strokes` are thin and darker than what is beside them; the `ground` is light.
    """

    still: float
    smooth: float
    textured: float
    edges: float
    few_levels: float
    inside: float
    few_inside: float
    still_inside: float
    strokes: float
    ground: float
    spread: int


def measure(jpeg: bytes) -> Measured:
    """Measure a web image."""
    from PIL import Image

    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        width, height = image.size
        image.draft("RGB", (FOCUS_EDGE, FOCUS_EDGE))
        rgb = image.convert("RGB")
    rgb.thumbnail((FOCUS_EDGE, FOCUS_EDGE), Image.Resampling.BICUBIC)
    grey = rgb.convert("L")
    found, tones = _colours(rgb)
    surfaces = _surfaces(grey)
    kind = _kind(tones, surfaces)
    return Measured(
        kind=kind,
        format=_format(width, height),
        colours=found,
        light=_step(
            tones.lightness,
            [(0.28, "very dark"), (0.43, "dark"), (0.68, "medium"), (0.85, "bright")],
            "very bright",
        ),
        contrast=_step(surfaces.spread, [(80, "low"), (185, "medium")], "high"),
        saturation=_saturation(tones),
        temperature=_temperature(tones),
        focus=_focus(grey) if kind.endswith("photograph") else None,
        detail=_step(surfaces.textured, [(0.02, "none"), (0.25, "little"), (0.6, "moderate")], "rich"),
    )


def _step(value: float, steps: Iterable[tuple[float, str]], last: str) -> str:
    return next((word for limit, word in steps if value < limit), last)


def _colours(rgb: "Image.Image") -> tuple[tuple[Colour, ...], _Tones]:
    from PIL import Image

    small = rgb.copy()
    small.thumbnail((COLOUR_EDGE, COLOUR_EDGE), Image.Resampling.BOX)
    flat = small.tobytes()
    # 32 steps a channel, each stood for by its middle, but black and white by themselves.
    bins = Counter(zip(*(bytes(_middle(v) for v in flat[channel::3]) for channel in range(3)), strict=True))
    total = bins.total()
    shares: Counter[str] = Counter()
    chromas: dict[str, float] = {}
    lightness = sum_a = sum_b = chroma = warm = cool = coloured = 0.0
    by_chroma: list[tuple[float, int]] = []
    for (red, green, blue), count in bins.items():
        lab = colours.oklab(red, green, blue)
        strength = math.hypot(lab[1], lab[2])
        name = colours.name(lab)
        shares[name] += count
        chromas[name] = chromas.get(name, 0.0) + strength * count
        by_chroma.append((strength, count))
        lightness += lab[0] * count
        sum_a, sum_b, chroma = sum_a + lab[1] * count, sum_b + lab[2] * count, chroma + strength * count
        hue = math.degrees(math.atan2(lab[2], lab[1])) % 360
        warm += strength * count if hue <= 112 or hue >= 340 else 0
        cool += strength * count if 160 <= hue <= 300 else 0
        coloured += count if strength > 0.05 else 0
    named = tuple(Colour(name, count / total, chromas[name] / count) for name, count in shares.most_common())
    tones = _Tones(
        lightness=lightness / total,
        chroma=chroma / total,
        strong_chroma=_percentile(sorted(by_chroma), 0.95 * total),
        one_hue=math.hypot(sum_a, sum_b) / chroma if chroma else 0.0,
        warm=warm / chroma if chroma else 0.0,
        cool=cool / chroma if chroma else 0.0,
        coloured=coloured / total,
    )
    return named, tones


def _middle(value: int) -> int:
    return value if value in {0, 255} else value & 0xF8 | 4


def _percentile(counted: Iterable[tuple[float, int]], rank: float) -> float:
    """Return the value at a rank of (value, count) pairs in order."""
    passed, found = 0, 0.0
    for value, count in counted:
        passed, found = passed + count, value
        if passed >= rank:
            break
    return found


def _surfaces(grey: "Image.Image") -> _Surfaces:
    from PIL import Image, ImageChops, ImageFilter

    small = grey.copy()
    small.thumbnail((SURFACE_EDGE, SURFACE_EDGE), Image.Resampling.BOX)
    change = ImageChops.difference(
        small.filter(ImageFilter.MaxFilter(3)), small.filter(ImageFilter.MinFilter(3))
    )
    total = small.width * small.height
    changes, levels = change.histogram(), small.histogram()
    inside = sum(levels[6:250])
    between = small.point([255 if 6 <= level < 250 else 0 for level in range(256)])
    # Strokes of letters vanish, dark fields stay. Four small filters make one of 9 × 9, only faster.
    ground = small
    for _ in range(4):
        ground = ground.filter(ImageFilter.MaxFilter(3))
    counted = [(float(level), count) for level, count in enumerate(levels)]
    return _Surfaces(
        still=changes[0] / total,
        smooth=sum(changes[:3]) / total,
        textured=sum(changes[12:]) / total,
        edges=sum(changes[60:]) / total,
        few_levels=sum(sorted(levels)[-4:]) / total,
        inside=inside / total,
        few_inside=sum(sorted(levels[6:250])[-4:]) / max(inside, 1),
        still_inside=change.histogram(between)[0] / max(inside, 1),
        strokes=sum(ImageChops.difference(ground, small).histogram()[80:]) / total,
        ground=sum(ground.histogram()[150:]) / total,
        spread=int(_percentile(counted, 0.95 * total) - _percentile(counted, 0.05 * total)),
    )


def _kind(tones: _Tones, surfaces: _Surfaces) -> Kind:
    """Drawn surfaces have no grain and few levels; a page is light, colourless, with thin dark parts."""
    if (
        tones.lightness >= 0.68
        and tones.coloured < 0.05
        and surfaces.edges >= 0.12
        and surfaces.strokes >= 0.08
        and surfaces.ground >= 0.8
    ):
        return "document"
    few = surfaces.still >= 0.3 and surfaces.few_levels >= 0.4
    # A photograph on pure white or black has grain wherever it is neither.
    drawn = few and (surfaces.inside < 0.15 or surfaces.few_inside >= 0.25)
    patches = surfaces.inside >= 0.15 and surfaces.still_inside >= 0.6
    gradient = surfaces.smooth >= 0.97 or (tones.strong_chroma >= 0.2 and surfaces.textured < 0.05)
    if drawn or patches or gradient:
        return "graphic"
    return "black-and-white photograph" if tones.strong_chroma < 0.015 else "photograph"


def _format(width: int, height: int) -> Format:
    ratio = width / height
    if max(ratio, 1 / ratio) >= 2:
        return "panoramic"
    if max(ratio, 1 / ratio) < 1.06:
        return "square"
    return "wide" if ratio > 1 else "upright"


def _saturation(tones: _Tones) -> str:
    if tones.strong_chroma < 0.015:
        return "none"
    if tones.strong_chroma < 0.06 and tones.one_hue >= 0.97:
        return "tinted"
    if tones.chroma >= 0.065 or tones.strong_chroma >= 0.15:
        return "vivid"
    return "muted" if tones.chroma < 0.035 else "natural"


def _temperature(tones: _Tones) -> str | None:
    if tones.strong_chroma < 0.02:
        return None
    if tones.warm >= 0.75:
        return "warm"
    return "cool" if tones.cool >= 0.65 else None


def _focus(grey: "Image.Image") -> str | None:
    """Compare how much there is of the finest structure with how much there is of a coarser one."""
    from PIL import ImageChops, ImageFilter, ImageStat

    if min(grey.size) < 64:
        return None
    blurred = [grey] + [grey.filter(ImageFilter.GaussianBlur(radius)) for radius in (1, 2, 4)]

    def energy(index: int) -> float:
        return ImageStat.Stat(ImageChops.difference(blurred[index], blurred[index + 1])).rms[0]

    coarse = energy(2)
    if coarse < 0.5:
        return None
    return _step(energy(0) / coarse, [(0.25, "blurry"), (0.6, "soft"), (4.0, "sharp")], "grainy")
