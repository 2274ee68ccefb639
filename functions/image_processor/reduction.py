"""Smaller pictures by libvips, which decodes a PNG and resizes anything in half of Pillow's time or less.

Pillow opens every file, reads its metadata, and says what is wrong with one. Of a file libvips is only asked
for pixels, by the name of one decoder, and wherever it has a doubt Pillow decodes as if nothing had been
tried: what is accepted, and each sentence of a rejection, is Pillow's.

libvips keeps threads, and in a process that is forked after they have worked it would wait for them for
ever. The sandbox's parent imports this module, and never calls anything of it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyvips
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Bands of a grey or sRGB picture of libvips, one byte each → Pillow's mode."""

GAP = 4.0
"""Lanczos takes over from averaging whole pixels at so many times the size. With libvips' own 2 a thumbnail
is made no sooner, and is 0.001 of SSIM further from the picture."""

_process: int | None = None
"""The process whose threads libvips has started."""


def begin() -> None:
    """Make this the process that libvips works in.

    Raises:
        RuntimeError: it has worked in the one that this one was forked from.
    """
    global _process  # noqa: PLW0603 - as the threads are the process's
    if _process not in {None, os.getpid()}:
        raise RuntimeError("libvips has worked in the process that this one was forked from")
    _process = os.getpid()
    pyvips.concurrency_set(1)  # there is one CPU, and each thread reserves address space
    pyvips.cache_set_max(0)  # no operation is asked for again


@dataclass(frozen=True)
class Pixels:
    """What libvips has made of a file.

    Attributes:
        image: L, LA, RGB or RGBA, without any of the metadata.
    """

    image: Image.Image
    _picture: pyvips.Image

    def smaller(self, size: tuple[int, int]) -> Image.Image:
        """Return them at a smaller size, sooner than from `image`, which would be copied first."""
        return _to_pillow(_resized(self._picture, size))


def decoded(image: ImageFile.ImageFile, target: tuple[int, int]) -> Pixels | None:
    """Return a file at about the size of the web image; None where Pillow is to decode it.

    Args:
        image: opened by Pillow and not decoded; a JPEG with the scale that libjpeg is to decode it at.
        target: width and height of the web image in pixels, before it is turned upright.
    """
    decoder = _decoder(image, target)
    if decoder is None:
        return None
    try:
        picture = decoder(access="sequential", fail_on="warning")
        if picture.format != "uchar" or picture.interpretation not in {"srgb", "b-w"}:
            return None
        small = _resized(picture, target)
        content = _from_memory(small.write_to_memory(), (small.width, small.height), small.bands)
    except pyvips.Error:
        return None
    if isinstance(image, PngImageFile):
        _read_to_the_end(image)
    return Pixels(_to_pillow(content), content)


def reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a decoded picture at a smaller size, in pixels."""
    if image.mode not in MODES.values():
        return image.resize(size, Image.Resampling.BICUBIC)
    return _to_pillow(_resized(_from_memory(image.tobytes(), image.size, len(image.mode)), size))


def _decoder(image: ImageFile.ImageFile, target: tuple[int, int]) -> Callable[..., pyvips.Image] | None:
    if getattr(image, "is_animated", False):
        return None
    is_larger = image.width > target[0]
    match image:
        # One that libjpeg scales to the web image's size while it decodes is done sooner by Pillow.
        case JpegImageFile(mode="L" | "RGB", decoderconfig=(scale, _)) if is_larger:
            return partial(pyvips.Image.jpegload, image.filename, shrink=scale)
        case PngImageFile():
            return partial(pyvips.Image.pngload, image.filename)
        # It is scaled while it is decoded, where the colours of what is transparent would shine through.
        case WebPImageFile(mode="RGB") if is_larger:
            return partial(pyvips.Image.webpload, image.filename, scale=target[0] / image.width)
    return None


def _resized(picture: pyvips.Image, size: tuple[int, int]) -> pyvips.Image:
    across, down = size[0] / picture.width, size[1] / picture.height
    if across >= 1 and down >= 1:
        return picture
    if not picture.hasalpha():
        return picture.resize(across, vscale=down, gap=GAP)
    weighed = picture.premultiply().resize(across, vscale=down, gap=GAP)
    return weighed.unpremultiply().cast("uchar")


def _from_memory(content: bytes, size: tuple[int, int], bands: int) -> pyvips.Image:
    picture = pyvips.Image.new_from_memory(content, *size, bands, "uchar")
    return picture.copy(interpretation="srgb" if bands > 2 else "b-w")


def _to_pillow(picture: pyvips.Image) -> Image.Image:
    size, mode = (picture.width, picture.height), MODES[picture.bands]
    return Image.frombuffer(mode, size, picture.write_to_memory(), "raw", mode, 0, 1)


def _read_to_the_end(image: PngImageFile) -> None:
    """Read the metadata that may follow the pixels, as Pillow does once it has decoded them."""
    image.load_prepare()
    image.load_end()
    image.info.setdefault("exif", None)  # without this key it would decode the pixels to look for it
