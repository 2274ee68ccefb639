"""A picture's web image and thumbnail, and what can be told of it: a file in, values out.

Runs in a child process (`sandbox.py`), because any bytes may be in the file.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile
from pillow_heif import options as heif

from functions.image_processor import colour, metadata, reduction
from functions.image_processor.metadata import Metadata
from functions.image_processor.signature import Format, is_cut_short, recognise, unsupported
from shared.errors import RejectedError

WEB_SIDE = 2048
THUMBNAIL_SIDE = 512
"""Longest sides in pixels. Nothing is ever enlarged."""
CLOSE_ENOUGH = 0.96
"""A JPEG that decodes at 96 to 100 % of the web image's size is taken as it is: libjpeg scales by 1/2,
1/4 and 1/8 while it decodes, and a phone's 4032 pixels become 2016 for a third of the time that a full
decode and a resize to 2048 take."""

DECODERS: dict[Format, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,  # and the first picture of an MPO, whatever its index says
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "AVIF": AvifImageFile,
    "HEIF": HeifImageFile,
}
"""One decoder per signature, called by its class: `Image.open` would try others, and keep to itself why
a file was refused."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the picture upright."""


@dataclass(frozen=True)
class Rendition:
    """The derivatives of a picture, and what is kept of the original.

    Attributes:
        width, height: of the original as shown, in pixels.
        image: the web image, a JPEG without any metadata, sRGB.
        thumbnail: a WebP without any metadata, sRGB.
        perceptual_hash: see `colour.perceptual_hash`.
        dominant_colours: see `colour.dominant`.
    """

    format: Format
    width: int
    height: int
    image: bytes
    image_size: tuple[int, int]
    thumbnail: bytes
    thumbnail_size: tuple[int, int]
    perceptual_hash: int
    dominant_colours: list[dict[str, Any]]
    metadata: Metadata


def render(path: Path, max_pixels: int, keep_location: bool) -> Rendition:
    """Decode a picture once and return its derivatives.

    Raises:
        RejectedError: the bytes are not a picture that can be used.
        MemoryError: decoding needs more memory than there is.
        RuntimeError: a picture was rendered in the process that this one was forked from.
    """
    reduction.begin()
    found = recognise(path)
    size, small, facts = _decode(path, found, max_pixels, keep_location)
    turn = UPRIGHT.get(facts.orientation)
    web = small if turn is None else small.transpose(turn)  # one of them is 0
    width, height = size[::-1] if facts.orientation >= 5 else size
    thumbnail = reduction.reduced(web, fit((width, height), THUMBNAIL_SIDE))
    return Rendition(
        format=found,
        width=width,
        height=height,
        # Huffman tables made for the picture would save 1 % of the bytes for 14 ms, a quarter of the rest.
        image=_encoded(web, "JPEG", quality=85),
        image_size=web.size,
        thumbnail=_encoded(thumbnail, "WEBP", quality=80, method=2),
        thumbnail_size=thumbnail.size,
        perceptual_hash=colour.perceptual_hash(thumbnail),
        dominant_colours=colour.dominant(thumbnail),
        metadata=facts,
    )


def fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the size with its longest side at most `side`; no side is ever less than 1."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _decode(
    path: Path, found: Format, max_pixels: int, keep_location: bool
) -> tuple[tuple[int, int], Image.Image, Metadata]:
    """Return the size as stored, the web image before it is turned upright, and the metadata."""
    # libheif shows what is missing as black, even where a phone's picture is cut by half; libtiff is not
    # much stricter.
    if found in {"HEIF", "TIFF"} and is_cut_short(path, found):
        raise _truncated()
    with _bounded_decoders(max_pixels):
        size, image, pixels = _load(path, found, max_pixels)
        with image:
            facts = metadata.read(image, keep_location)
            profile = image.info.get("icc_profile")
            target = fit(size, WEB_SIDE)
            small = colour.resizable(image) if pixels is None else pixels
            if not _suits(small.size, target):
                small = reduction.reduced(small, target)
            return size, colour.to_srgb(small, profile), facts


@contextmanager
def _bounded_decoders(max_pixels: int) -> Iterator[None]:
    """Set what decoders only read from their modules."""
    # There is one CPU, and each thread reserves address space.
    AvifImagePlugin.DEFAULT_MAX_THREADS = heif.DECODE_THREADS = 1
    heif.THUMBNAILS = heif.DEPTH_IMAGES = heif.AUX_IMAGES = False
    # Asked by the decoders that allocate while they open a file. Twice as much is an error to Pillow.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, (max_pixels + 1) // 2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that does not matter
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _load(
    path: Path, found: Format, max_pixels: int
) -> tuple[tuple[int, int], ImageFile.ImageFile, Image.Image | None]:
    """Decode the first frame, whatever the number of frames.

    A JPEG is decoded at the reduced scale that suits the web image: there its pixels are bounded.

    Returns:
        The size as stored, the file with its metadata, and where libvips decoded it the pixels, which are
        the file's otherwise.
    """
    size = (0, 0)
    try:
        with ExitStack() as opened:
            image = opened.enter_context(DECODERS[found](path))
            size = image.size
            _refuse_previews(image)
            target = fit(size, WEB_SIDE)
            if isinstance(image, JpegImageFile):
                image.draft("RGB", (_least(target[0]), _least(target[1])))
            if image.width * image.height > max_pixels:
                raise _too_many_pixels(size, max_pixels)
            pixels = reduction.decoded(image, target)
            if pixels is None:
                image.load()
                if image.mode in {"P", "PA"} and image.palette is None:
                    raise ValueError("a picture of palette indices without a palette")
            opened.pop_all()
    except (RejectedError, MemoryError):
        raise
    except Exception as error:
        verdict = _verdict(error, path, found)
        # libjpeg holds all of a progressive picture, and speaks of too little memory as of damage.
        if verdict.code == "corrupt" and size[0] * size[1] > max_pixels:
            verdict = _too_many_pixels(size, max_pixels)
        raise verdict from error
    return size, image, pixels


def _least(side: int) -> int:
    return max(1, int(side * CLOSE_ENOUGH))


def _suits(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Say whether a picture of this size is taken as the web image as it is."""
    return all(_least(most) <= side <= most for side, most in zip(size, target, strict=True))


def _refuse_previews(image: Image.Image) -> None:
    """Refuse a camera's raw file: a TIFF whose first picture is a small preview of the real one."""
    tags = getattr(image, "tag_v2", {})
    reduced = tags.get(254, 0)  # NewSubfileType
    if 50706 in tags or (isinstance(reduced, int) and reduced & 1):  # DNGVersion
        raise unsupported("Raw pictures of cameras")


def _verdict(error: Exception, path: Path, found: Format) -> RejectedError:
    """Say what is wrong with a file that its decoder refused."""
    text = str(error).lower()
    if isinstance(error, Image.DecompressionBombError) or "security limit" in text:
        return RejectedError("too_many_pixels", "The picture has too many pixels.")
    if re.search(r"\bmemory\b", text):
        raise MemoryError from error
    if re.search(r"unsupported|not (yet )?supported|cannot handle|unknown pixel mode", text):
        return unsupported(f"{found} pictures of this kind")
    if re.search(r"truncated|not enough image data|end of file", text) or is_cut_short(path, found):
        return _truncated()
    return RejectedError("corrupt", "The file is damaged and cannot be read.")


def _too_many_pixels(size: tuple[int, int], max_pixels: int) -> RejectedError:
    sentence = f"The picture has {size[0]} × {size[1]} pixels; {max_pixels:,} are the limit."
    return RejectedError("too_many_pixels", sentence)


def _truncated() -> RejectedError:
    return RejectedError("truncated", "The file ends before the picture does; upload it again.")


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Write a picture without comment, profile, EXIF or XMP: the encoders take what `info` still holds."""
    image.info = {}
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
