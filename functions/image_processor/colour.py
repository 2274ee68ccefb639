"""Colours: from whatever a file holds to sRGB, and what is remembered of them."""

import io
from typing import Any

from PIL import Image, ImageChops, ImageCms

DOMINANT_COLOURS = 5
SAMPLE_SIDE = 32
"""Dominant colours are counted on so many pixels squared: noise is averaged away. Four times as many take
four times as long, as long as decoding a picture of two megapixels, and find nearly the same colours."""

PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Colour space of an ICC profile → Pillow's mode of the pixels that it describes."""


def resizable(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be averaged: L, LA, RGB, RGBA, CMYK or LAB.

    Palette indices and single bits cannot. Numbers wider than a byte are scaled, where Pillow's own
    conversion clips them to white.
    """
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode.startswith("I;16"):
        return _scaled(image, 0, 2 ** _bits(image) - 1, inverted=_white_is_zero(image))
    if image.mode in {"I", "F"}:
        return _scaled(image, *_range(image))
    if image.mode in {"1", "L", "RGB"} and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in {"La", "RGBa"}:  # colours multiplied by alpha
        return image.convert(image.mode.upper())
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in {"L", "LA", "RGB", "RGBA", "CMYK", "LAB"} else image.convert("RGB")


def _scaled(image: Image.Image, low: float, high: float, *, inverted: bool = False) -> Image.Image:
    scale = 255 / (high - low) if high > low else 0.0
    if inverted:
        low, scale = high, -scale
    return image.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def _bits(image: Image.Image) -> int:
    """Bits per sample: 16, but for TIFFs of 12."""
    bits = getattr(image, "tag_v2", {}).get(258, (16,))
    return bits[0] if isinstance(bits, tuple) and bits and 8 < bits[0] <= 16 else 16


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF counts from white to black, which Pillow only heeds for 8 bits and fewer."""
    return bool(getattr(image, "tag_v2", {}).get(262, 1) == 0)


def _range(image: Image.Image) -> tuple[float, float]:
    """Return the least and greatest value of a picture of numbers without a natural range.

    Of a sample: and not by `getextrema`, whose answer is NaN for a raster that begins with "no data".
    """
    size = (min(image.width, 256), min(image.height, 256))
    sample: Any = image.convert("F").resize(size, Image.Resampling.NEAREST).get_flattened_data()
    finite = [value for value in sample if abs(value) < float("inf")]
    return (min(finite), max(finite)) if finite else (0.0, 0.0)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an opaque sRGB picture, RGB or RGBX; what was transparent becomes white.

    Args:
        image: in a mode of `resizable`, or RGBX.
        profile: the ICC profile of the file. One that is broken, or describes another kind of pixels, is
            ignored: the picture is worth more.
    """
    alpha = image.getchannel("A") if image.mode in {"LA", "RGBA"} else None
    if alpha:
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if profile:
        image = _converted(image.convert("RGB") if image.mode == "RGBX" else image, profile)
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = _transformed(image, ImageCms.ImageCmsProfile(lab))
    if image.mode not in {"RGB", "RGBX"}:  # it would be copied
        image = image.convert("RGB")
    if alpha:
        white = Image.new("RGB", image.size, "white")
        image = Image.composite(image, white, alpha)
    return image


def _converted(image: Image.Image, content: bytes) -> Image.Image:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        mode = PROFILE_MODES.get(profile.profile.xcolor_space.strip())
        if image.mode == "L" and mode == "RGB":
            image = image.convert("RGB")
        if image.mode != mode:
            return image
        return _transformed(image, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Convert to sRGB, unless the profile is sRGB under another name, which it is most of the time.

    A profile is judged by what it does to the colours of a small cube; converting 3 million pixels
    only to find them unchanged takes longer than reading them.
    """
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), image.mode, "RGB")
    if image.mode == "RGB":
        steps = range(0, 256, 51)
        cube = Image.new("RGB", (6, 36))
        cube.putdata([(r, g, b) for r in steps for g in steps for b in steps])
        moved = ImageChops.difference(cube, _apply(cube, transform))
        if max(high for _, high in moved.getextrema()) <= 1:  # type: ignore[misc]  # a pair per band
            return image
    return _apply(image, transform)


def _apply(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # noqa: S101 - it is only None in place
    return converted


def dominant(image: Image.Image) -> list[dict[str, Any]]:
    """Return the dominant colours of an RGB picture: `[{"hex": "#aabbcc", "share": 0.42}]`.

    Largest share first; shares are of all pixels and sum to 1. By k-means over a small copy, which begins
    with colours far apart: they come as near to the pixels as from a median cut, in half of the time.
    """
    size = (min(image.width, SAMPLE_SIDE), min(image.height, SAMPLE_SIDE))
    small = image.resize(size, Image.Resampling.BOX)
    few = small.quantize(DOMINANT_COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=4)
    palette = few.getpalette("RGB") or []
    counts = sorted(few.getcolors() or [], reverse=True)
    return [
        {
            "hex": "#{:02x}{:02x}{:02x}".format(*palette[3 * index : 3 * index + 3]),
            "share": round(count / (size[0] * size[1]), 4),
        }
        for count, index in counts
        if isinstance(index, int)
    ]


def perceptual_hash(image: Image.Image) -> int:
    """Return the 64-bit difference hash as a signed integer, the way PostgreSQL's bigint holds it.

    Bit by bit, from the upper left: whether a pixel of the picture reduced to 9 × 8 greys is brighter
    than its right neighbour (N. Krawetz, "Kind of like that", 2013). Near duplicates differ in few
    bits: `bit_count` of the exclusive or.
    """
    grey = image.convert("L").resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            left = row * 9 + column
            bits = bits << 1 | (grey[left] > grey[left + 1])
    return bits - 2**64 if bits >= 2**63 else bits
