"""Pictures for tests: real photographs, every format they can be in, and profiles made by hand."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import Image, ImageChops, ImageStat

from functions.image_processor import rendition, sandbox
from functions.image_processor.rendition import Rendition

pillow_heif.register_heif_opener()

PHOTOS = Path(__file__).resolve().parents[3].parent / "shared/photos"
"""Photographs that are not part of the project; tests that want them are skipped where they are absent."""


def render(path: Path, max_pixels: int, keep_location: bool) -> Rendition:
    """Render in a child process, as on Lambda: libvips must not work in a process that is to be forked."""
    return sandbox.run(partial(rendition.render, path, max_pixels, keep_location))


def photograph(name: str = "chelsea.png") -> Image.Image:
    """Return one of scikit-image's photographs, without importing scikit-image."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    with Image.open(Path(spec.submodule_search_locations[0]) / "data" / name) as image:
        picture = image.convert("RGB")
    picture.info = {}
    return picture


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FORMATS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda im: encoded(im, "JPEG", quality=92),
    "progressive JPEG": lambda im: encoded(im, "JPEG", quality=92, progressive=True),
    "grey JPEG": lambda im: encoded(im.convert("L"), "JPEG", quality=92),
    "CMYK JPEG": lambda im: encoded(im.convert("CMYK"), "JPEG", quality=92),
    "MPO": lambda im: encoded(im, "MPO", quality=92, save_all=True, append_images=[im.rotate(90)]),
    "PNG": lambda im: encoded(im, "PNG", compress_level=1),
    "RGBA PNG": lambda im: encoded(im.convert("RGBA"), "PNG", compress_level=1),
    "palette PNG": lambda im: encoded(im.quantize(256, kmeans=1), "PNG", compress_level=1),
    "grey PNG": lambda im: encoded(im.convert("L"), "PNG", compress_level=1),
    "grey and alpha PNG": lambda im: encoded(im.convert("LA"), "PNG", compress_level=1),
    "16-bit grey PNG": lambda im: encoded(sixteen_bits(im), "PNG", compress_level=1),
    "16-bit colour PNG": lambda im: sixteen_bit_colour_png(im),
    "interlaced PNG": lambda im: interlaced_png(im),
    "GIF": lambda im: encoded(im.quantize(256, kmeans=1), "GIF"),
    "WebP": lambda im: encoded(im, "WEBP", quality=92, method=0),
    "lossless WebP": lambda im: encoded(im, "WEBP", lossless=True, quality=0, method=0),
    "RGBA WebP": lambda im: encoded(im.convert("RGBA"), "WEBP", quality=92, method=0),
    "TIFF": lambda im: encoded(im, "TIFF"),
    "LZW TIFF": lambda im: encoded(im, "TIFF", compression="tiff_lzw"),
    "JPEG TIFF": lambda im: encoded(im, "TIFF", compression="jpeg", quality=92),
    "CMYK TIFF": lambda im: encoded(im.convert("CMYK"), "TIFF"),
    "LAB TIFF": lambda im: encoded(im.convert("LAB"), "TIFF"),
    "16-bit grey TIFF": lambda im: encoded(sixteen_bits(im), "TIFF"),
    "BMP": lambda im: encoded(im, "BMP"),
    "grey BMP": lambda im: encoded(im.convert("L"), "BMP"),
    "grey TIFF": lambda im: encoded(im.convert("L"), "TIFF"),
    "palette BMP": lambda im: encoded(im.quantize(256, kmeans=1), "BMP"),
    "AVIF": lambda im: encoded(im, "AVIF", quality=85, speed=10),
    "HEIF": lambda im: encoded(im, "HEIF", quality=85, enc_params={"preset": "ultrafast"}),
}
"""Name → how to make a file of it. The first word in capitals is what Magpie calls the format."""

GREY = {name for name in FORMATS if "grey" in name}


def format_of(name: str) -> str:
    """Return what Magpie calls the format of a file of FORMATS."""
    return (
        next(
            ours
            for ours in ("JPEG TIFF", "JPEG", "MPO", "PNG", "GIF", "WebP", "TIFF", "BMP", "AVIF", "HEIF")
            if ours in name
        )
        .translate(str.maketrans({" ": None}))
        .replace("JPEGTIFF", "TIFF")
        .replace("MPO", "JPEG")
        .upper()
    )


def sixteen_bits(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("I").point(lambda value: value * 257).convert("I;16")


def sixteen_bit_colour_png(image: Image.Image) -> bytes:
    """Pillow reads 16 bits a channel, but cannot write them."""
    row = image.width * 3
    pixels = bytes(byte for value in image.tobytes() for byte in (value, value))
    lines = b"".join(b"\0" + pixels[2 * row * y : 2 * row * (y + 1)] for y in range(image.height))
    return png(image.size, 16, 2, zlib.compress(lines, 1))


def interlaced_png(image: Image.Image) -> bytes:
    """Adam7: seven passes, each a small picture of its own."""
    data = b""
    for x0, y0, dx, dy in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
    ):  # fmt: skip
        for y in range(y0, image.height, dy):
            row = image.crop((0, y, image.width, y + 1)).tobytes()
            data += b"\0" + b"".join(row[3 * x : 3 * x + 3] for x in range(x0, image.width, dx))
    return png(image.size, 8, 2, zlib.compress(data, 1), interlace=1)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def png(size: tuple[int, int], depth: int, colour: int, data: bytes, interlace: int = 0) -> bytes:
    """A PNG of a given header and compressed data, whatever they say together."""
    header = struct.pack(">LLBBBBB", *size, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_png_chunk(content: bytes, kind: bytes, body: bytes) -> bytes:
    """Put a chunk behind the header of a PNG."""
    return content[:33] + chunk(kind, body) + content[33:]


def with_jpeg_segment(content: bytes, marker: int, body: bytes) -> bytes:
    """Put a segment behind the start-of-image marker of a JPEG."""
    return content[:2] + struct.pack(">HH", marker, len(body) + 2) + body + content[2:]


def tiff(entries: dict[int, tuple[int, int]], size: int = 400) -> bytes:
    """A TIFF of one directory: tag → (type 3 or 4, value), and zeros."""
    content = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        content += struct.pack("<HHL", tag, kind, 1) + struct.pack("<L", value)
    return content.ljust(size, b"\0")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures, 0 to 255."""
    assert one.size == other.size
    moved = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return sum(ImageStat.Stat(moved).mean) / 3


def opened(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def noise(size: tuple[int, int], seed: int = 1) -> Image.Image:
    pixels = random.Random(seed).randbytes(size[0] * size[1] * 3)  # noqa: S311 - noise, not a secret
    return Image.frombytes("RGB", size, pixels)


def _fixed(number: float) -> bytes:
    return struct.pack(">l", round(number * 65536))


def _profile(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2 (ICC.1:2001-04)."""
    header = struct.pack(">LLL4s4s4s", 0, 0, 0x02400000, kind, space, connection)
    header += bytes(12) + b"acsp" + bytes(28) + _fixed(0.9642) + _fixed(1) + _fixed(0.8249)
    header = header.ljust(128, b"\0")
    table, body = struct.pack(">L", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += struct.pack(">4sLL", name, start + len(body), len(content))
        body += padded
    whole = header + table + body
    return struct.pack(">L", len(whole)) + whole[4:]


def _text(words: bytes) -> dict[bytes, bytes]:
    return {
        b"desc": b"desc\0\0\0\0" + struct.pack(">L", len(words) + 1) + words + bytes(1 + 78),
        b"cprt": b"text\0\0\0\0" + words + b"\0",
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(0.9642) + _fixed(1) + _fixed(0.8249),
    }


def display_p3(words: bytes = b"wide") -> bytes:
    """The primaries of Display P3, adapted to D50, with a gamma of 2.2."""
    gamma = b"curv\0\0\0\0" + struct.pack(">LH", 1, round(2.2 * 256)) + b"\0\0"
    tags = _text(words)
    for name, xyz in (
        (b"r", (0.515102, 0.241182, -0.001050)),
        (b"g", (0.291965, 0.692236, 0.041882)),
        (b"b", (0.157153, 0.066582, 0.784378)),
    ):
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + b"".join(map(_fixed, xyz))
        tags[name + b"TRC"] = gamma
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags)


def grey_profile(gamma: float) -> bytes:
    tags = _text(b"grey")
    tags[b"kTRC"] = b"curv\0\0\0\0" + struct.pack(">LH", 1, round(gamma * 256)) + b"\0\0"
    return _profile(b"GRAY", b"XYZ ", b"mntr", tags)


def cmyk_profile() -> bytes:
    """A printer on which each ink halves the lightness: L* 100, 50, 25, 12.5 and black."""
    identity = b"".join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    ramp = bytes(range(256))
    lightness = (255, 128, 64, 32, 0)
    corners = b"".join(bytes((lightness[inks.bit_count()], 128, 128)) for inks in range(16))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + ramp * 4 + corners + ramp * 3
    return _profile(b"CMYK", b"Lab ", b"prtr", {**_text(b"ink"), b"A2B0": table})
