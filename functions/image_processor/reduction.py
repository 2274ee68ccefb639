"""Smaller pictures by libvips, which decodes a PNG and resizes anything in half of Pillow's time or less.

Pillow opens every file, reads its metadata, and says what is wrong with one. Of a file libvips is only asked
for pixels, by the name of one decoder, and wherever it has a doubt Pillow decodes as if nothing had been
tried: what is accepted, and each sentence of a rejection, is Pillow's. What Pillow has decoded libvips reads
where it lies, by the Arrow C data interface: https://arrow.apache.org/docs/format/CDataInterface.html.

libvips keeps threads, and in a process that is forked after they have worked it would wait for them for
ever. The sandbox's parent imports this module, and never calls anything of it.
"""

import ctypes
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyvips
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from functions.image_processor.signature import png_goes_on_after_its_pixels

MODES = {1: "L", 2: "LA", 4: "RGBA"}
"""Bands of a grey or sRGB picture of libvips, one byte each → Pillow's mode, but for three."""

GAP = 4.0
"""Lanczos takes over from averaging whole pixels at so many times the size. With libvips' own 2 a thumbnail
is made no sooner, and is 0.001 of SSIM further from the picture."""

ONE_PIECE = 2**30
"""Bytes up to which Pillow keeps a picture in one piece, so that libvips can read it; by itself 16 MB."""

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
    Image.core.set_block_size(ONE_PIECE)  # type: ignore[attr-defined]  # it has no types


def decoded(image: ImageFile.ImageFile, target: tuple[int, int]) -> Image.Image | None:
    """Return the pixels of a file at about the size of the web image; None where Pillow is to decode it.

    Args:
        image: opened by Pillow and not decoded; a JPEG with the scale that libjpeg is to decode it at.
        target: width and height of the web image in pixels, before it is turned upright.

    Returns:
        An L, LA, RGBX or RGBA picture, without any of the metadata.
    """
    decoder = _decoder(image, target)
    if decoder is None:
        return None
    try:
        picture = decoder(access="sequential", fail_on="warning")
        if picture.format != "uchar" or picture.interpretation not in {"srgb", "b-w"}:
            return None
        small = _resized(picture, target, picture.hasalpha())
        if small.bands == 3:  # Pillow keeps four bytes a pixel, and would copy what has three
            pixels = _to_pillow(small.bandjoin(255), "RGBX")
        else:
            pixels = _to_pillow(small, MODES[small.bands])
    except pyvips.Error:
        return None
    if isinstance(image, PngImageFile):
        _read_to_the_end(image)
    return pixels


def reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a decoded picture at a size in pixels that is smaller or the same; RGB where it was RGBX.

    Raises:
        MemoryError: there is too little for it.
    """
    if image.mode not in {"L", "RGB", "RGBX", "RGBA"}:
        return image.resize(size, Image.Resampling.BICUBIC)
    try:
        small = _resized(_lent(image), size, image.mode == "RGBA")
        if image.mode in {"RGB", "RGBX"}:
            return _to_pillow(small.extract_band(0, n=3), "RGB")
        return _to_pillow(small, image.mode)
    except pyvips.Error as error:  # what else could be wrong with pixels in memory?
        raise MemoryError from error


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


def _resized(picture: pyvips.Image, size: tuple[int, int], has_alpha: bool) -> pyvips.Image:
    across, down = size[0] / picture.width, size[1] / picture.height
    if across >= 1 and down >= 1:
        return picture
    if not has_alpha:
        return picture.resize(across, vscale=down, gap=GAP)
    weighed = picture.premultiply().resize(across, vscale=down, gap=GAP)
    return weighed.unpremultiply().cast("uchar")


def _to_pillow(picture: pyvips.Image, mode: str) -> Image.Image:
    size = picture.width, picture.height
    return Image.frombuffer(mode, size, picture.write_to_memory(), "raw", mode, 0, 1)


class _ArrowArray(ctypes.Structure):
    """The beginning of `struct ArrowArray`."""


_ArrowArray._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
]


def _lent(image: Image.Image) -> pyvips.Image:
    """Return a picture of libvips in the memory of one of Pillow's: L has one band, all others have four."""
    try:
        _, capsule = image.__arrow_c_array__()
    except ValueError:  # in pieces, or read where it lies in its file
        _, capsule = image.copy().__arrow_c_array__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    array = _ArrowArray.from_address(pointer(capsule, b"arrow_array"))
    bands = 1
    if array.n_children:  # pixels of several bytes
        array, bands = array.children[0].contents, 4
    content: Any = (ctypes.c_ubyte * array.length).from_address(array.buffers[1])
    content.lender = capsule  # libvips holds the one, and by it the other
    picture = pyvips.Image.new_from_memory(content, *image.size, bands, "uchar")
    return picture.copy(interpretation="b-w" if bands == 1 else "srgb")


def _read_to_the_end(image: PngImageFile) -> None:
    """Read the metadata that may follow the pixels, as Pillow does once it has decoded them."""
    if png_goes_on_after_its_pixels(Path(str(image.filename))):
        image.im = Image.new(image.mode, (1, 1)).im  # it would make room for pixels of its own
        image.load_prepare()
        image.load_end()
    image.info.setdefault("exif", None)  # without this key it would decode the pixels to look for it
