"""Any bytes end as a rendition or as a code of the closed list, within bounded time and memory."""

import io
import struct
import time
import zlib
from functools import cache, partial
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from functions.image_processor import sandbox
from functions.image_processor.rendition import Rendition, render
from shared.errors import RejectedError
from shared.events import RejectionCode
from tests.unit.image_processor.pictures import (
    FORMATS,
    chunk,
    display_p3,
    encoded,
    noise,
    photograph,
    png,
    tiff,
    with_jpeg_segment,
    with_png_chunk,
)

pytestmark = pytest.mark.heavy

SECONDS = 15
"""Of patience for one file, on a machine that does other things besides."""


def outcome(tmp_path: Path, content: bytes) -> Rendition | str:
    """Return the rendition, or the code of the rejection."""
    path = tmp_path / "original"
    path.write_bytes(content)
    started = time.monotonic()
    rejection = None
    try:
        found = sandbox.run(partial(render, path, 64_000_000, True))
    except RejectedError as error:
        rejection = error
    assert time.monotonic() - started < SECONDS
    if rejection is None:
        return found
    assert rejection.code in get_args(RejectionCode)
    assert rejection.sentence.endswith(".")
    return rejection.code


SMALL = photograph().resize((96, 64))
JPEG, PNG = FORMATS["JPEG"](SMALL), FORMATS["PNG"](SMALL)


def patched_jpeg(width: int, height: int, **options: object) -> bytes:
    """A small JPEG whose header says that it is large."""
    content = encoded(SMALL, "JPEG", **options)
    frame = content.index(b"\xff\xc2" if options else b"\xff\xc0")
    return content[: frame + 5] + struct.pack(">HH", height, width) + content[frame + 9 :]


def gif(canvas: tuple[int, int], frame: tuple[int, int, int, int]) -> bytes:
    return (
        b"GIF89a" + struct.pack("<HH", *canvas) + b"\x80\0\0\0\0\0\xff\xff\xff"
        b"," + struct.pack("<HHHH", *frame) + b"\0\x02\x02D\x01\0;"
    )  # fmt: skip


def webp_canvas(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return (
        b"RIFF"
        + struct.pack("<L", 30)
        + b"WEBPVP8X"
        + struct.pack("<L", 10)
        + bytes(4)
        + sizes
        + b"VP8 "
        + bytes(4)
    )


def bmp(width: int, height: int, compression: int = 0, data: bytes = b"") -> bytes:
    header = struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, compression, 0, 0, 0, 256, 256)
    palette = b"".join(bytes((value, 255 - value, value, 0)) for value in range(256))
    return b"BM" + struct.pack("<LLL", 1078 + len(data), 0, 1078) + header + palette + data


@cache
def zeros(pixels: int) -> bytes:
    """So many zeros, compressed a thousandfold."""
    packer = zlib.compressobj(9)
    return (
        b"".join(packer.compress(bytes(1_000_000)) for _ in range(pixels // 1_000_000 + 1)) + packer.flush()
    )


DIRECTORY = {
    256: (4, 100),
    257: (4, 100),
    258: (3, 8),
    259: (3, 1),
    262: (3, 1),
    273: (4, 200),
    278: (4, 100),
}

HOSTILE = {
    "a PNG of 3.6 gigapixels": (png((60_000, 60_000), 1, 0, zlib.compress(bytes(1000))), "too_many_pixels"),
    "a PNG of 4 exapixels": (png((2**31 - 1, 2**31 - 1), 8, 2, b""), "too_many_pixels"),
    "a PNG of a gigapixel in few bytes": (png((31_623, 31_623), 1, 0, zeros(125_000_000)), "too_many_pixels"),
    "a PNG without pixels": (png((0, 0), 8, 2, b""), "corrupt"),
    "a PNG of 64 million lines": (png((1, 64_000_000), 1, 0, zlib.compress(bytes(1000))), None),
    "a PNG that unpacks to more than it shows": (png((10, 10), 8, 2, zeros(100_000_000)), None),
    "a PNG whose comment unpacks without end": (
        with_png_chunk(PNG, b"zTXt", b"x\0\0" + zeros(100_000_000)),
        None,
    ),
    "a PNG whose profile unpacks without end": (
        with_png_chunk(PNG, b"iCCP", b"x\0\0" + zeros(100_000_000)),
        None,
    ),
    "a PNG of a hundred thousand chunks": (PNG[:33] + chunk(b"tEXt", b"x\0y") * 100_000 + PNG[33:], None),
    "a PNG with a wrong checksum": (PNG[:29] + b"\0\0\0\0" + PNG[33:], "corrupt"),
    "a PNG without palette": (png((10, 10), 8, 3, zlib.compress(bytes(110))), "corrupt"),
    "a PNG of an unknown kind": (png((10, 10), 8, 7, zlib.compress(bytes(110))), "corrupt"),
    "a GIF canvas of 4 gigapixels": (gif((65_535, 65_535), (0, 0, 1, 1)), "too_many_pixels"),
    "a GIF frame beyond the canvas": (gif((10, 10), (60_000, 60_000, 5000, 5000)), "too_many_pixels"),
    "a GIF of 64 megapixels in 41 bytes": (gif((8000, 8000), (0, 0, 1, 1)), None),
    "a WebP canvas of 268 megapixels": (webp_canvas(16_383, 16_383), "too_many_pixels"),
    "a WebP without a picture": (webp_canvas(10, 10), "corrupt"),
    "a TIFF of 16 exapixels": (
        tiff({**DIRECTORY, 256: (4, 2**32 - 1), 257: (4, 2**32 - 1)}),
        "too_many_pixels",
    ),
    "a TIFF of 64 megapixels in 400 bytes": (
        tiff({**DIRECTORY, 256: (4, 8000), 257: (4, 8000)}),
        "truncated",
    ),
    "a TIFF strip of 2 gigabytes": (tiff({**DIRECTORY, 259: (3, 5), 278: (4, 2**31)}), "corrupt"),
    "a TIFF of 64 bits": (tiff({**DIRECTORY, 258: (3, 64)}), "unsupported_format"),
    "a TIFF of 60,000 channels": (tiff({**DIRECTORY, 277: (3, 60_000)}), "corrupt"),
    "a TIFF that is its own next page": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(50), "corrupt"),
    "a TIFF directory beyond the end": (b"II*\0\xff\xff\xff\x7f" + bytes(50), "truncated"),
    "a BMP of 4 exapixels": (bmp(2**31 - 1, 2**31 - 1), "too_many_pixels"),
    "a BMP without pixels": (bmp(0, 0), "corrupt"),
    "a BMP that repeats nothing": (bmp(8000, 8000, 1, b"\0\0" * 100_000 + b"\0\x01"), None),
    "a JPEG of 4 gigapixels": (patched_jpeg(65_500, 65_500), "too_many_pixels"),
    "a progressive JPEG of 4 gigapixels": (patched_jpeg(65_500, 65_500, progressive=True), "too_many_pixels"),
    "a progressive JPEG of 900 megapixels": (
        patched_jpeg(30_000, 30_000, progressive=True),
        "too_many_pixels",
    ),
    "a JPEG of 400 megapixels that has 6,000": (patched_jpeg(20_000, 20_000), None),
    "a JPEG without pixels": (patched_jpeg(0, 0), "corrupt"),
    "a JPEG of 100,000 comments": (JPEG[:2] + b"\xff\xfe\0\x02" * 100_000 + JPEG[2:], None),
    "a JPEG with a broken profile": (
        with_jpeg_segment(JPEG, 0xFFE2, b"ICC_PROFILE\0\x01\x01" + bytes(500)),
        None,
    ),
    "a JPEG with 99 profiles missing": (
        with_jpeg_segment(JPEG, 0xFFE2, b"ICC_PROFILE\0\x01\x64" + display_p3()),
        None,
    ),
    "an MPO without an index": (with_jpeg_segment(JPEG, 0xFFE2, b"MPF\0" + bytes(40)), None),
    "a JPEG that begins twice": (b"\xff\xd8" + JPEG, None),
    "a header and noise, JPEG": (b"\xff\xd8\xff" + noise((40, 40)).tobytes(), None),
    "a header and noise, PNG": (b"\x89PNG\r\n\x1a\n" + noise((40, 40)).tobytes(), None),
    "a header and noise, GIF": (b"GIF89a" + noise((40, 40)).tobytes(), None),
    "a header and noise, WebP": (b"RIFF\0\x10\0\0WEBPVP8 " + noise((40, 40)).tobytes(), None),
    "a header and noise, AVIF": (b"\0\0\0\x18ftypavif" + noise((40, 40)).tobytes(), None),
    "a header and noise, HEIF": (b"\0\0\0\x18ftypheic" + noise((40, 40)).tobytes(), None),
    "noise": (noise((40, 40)).tobytes(), "not_an_image"),
    "HTML": (b"<html><img src=x onerror=alert(1)></html>", "not_an_image"),
    "nothing": (b"", "empty"),
    "one byte": (b"\xff", "not_an_image"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_end_in_a_known_way(name: str, tmp_path: Path) -> None:
    content, expected = HOSTILE[name]
    found = outcome(tmp_path, content)
    if expected:
        assert found == expected


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_broke_off_is_truncated_wherever_it_did(name: str, tmp_path: Path) -> None:
    content = FORMATS[name](SMALL)
    if name == "MPO":  # the second picture may be missing
        content = content[: content.index(b"\xff\xd9\xff\xd8") + 2]
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.85):
        assert outcome(tmp_path, content[: int(len(content) * share)]) == "truncated", share


@pytest.mark.parametrize("name", FORMATS)
def test_the_last_bytes_may_be_missing_or_not_but_never_unnoticed(name: str, tmp_path: Path) -> None:
    content = FORMATS[name](SMALL)
    for missing in (1, 2, 5, 13):
        found = outcome(tmp_path, content[:-missing])
        assert found == "truncated" or isinstance(found, Rendition), missing


@pytest.mark.parametrize("name", FORMATS)
def test_the_first_bytes_alone_never_crash(name: str, tmp_path: Path) -> None:
    content = FORMATS[name](SMALL)
    for length in range(1, 80, 7):
        assert isinstance(outcome(tmp_path, content[:length]), str)


def test_many_thousand_frames_cost_no_more_than_one(tmp_path: Path) -> None:
    picture = Image.new("P", (8, 8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    one = encoded(picture, "GIF")
    frame = one[one.index(b",") : -1]
    pages = io.BytesIO()
    Image.new("L", (8, 8)).save(pages, "TIFF", save_all=True, append_images=[Image.new("L", (8, 8))] * 2000)
    animated = encoded(SMALL, "WEBP", save_all=True, append_images=[noise((96, 64))])
    body = animated[animated.rindex(b"ANMF") :] * 20_000
    animated = animated[: animated.rindex(b"ANMF")] + body
    animated = animated[:4] + struct.pack("<L", len(animated) - 8) + animated[8:]
    for content in (one[:-1] + frame * 50_000 + b";", pages.getvalue(), animated):
        started = time.monotonic()
        assert isinstance(outcome(tmp_path, content), Rendition)
        assert time.monotonic() - started < 5


BASES = {
    **{name: make(SMALL.resize((48, 32))) for name, make in FORMATS.items()},
    "JPEG with a profile": encoded(SMALL, "JPEG", icc_profile=display_p3()),
    "TIFF of groups": encoded(SMALL.convert("1"), "TIFF", compression="group4"),
    "TIFF of floats": encoded(SMALL.convert("F"), "TIFF"),
    "animated GIF": encoded(
        SMALL.quantize(8), "GIF", save_all=True, append_images=[SMALL.rotate(90).quantize(8)]
    ),
    "animated PNG": encoded(SMALL, "PNG", save_all=True, append_images=[SMALL.rotate(90)]),
}
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.booleans(),
        st.sampled_from(["set", "delete", "insert"]),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(base=st.sampled_from(sorted(BASES)), changes=CHANGES)
def test_changed_pictures_end_in_a_known_way(
    base: str, changes: list[tuple[float, bool, str, bytes]], tmp_path: Path
) -> None:
    content = bytearray(BASES[base])
    for place, in_header, change, value in changes:
        start = int(place * min(len(content), 200 if in_header else len(content)))
        end = start if change == "insert" else start + len(value)
        content[start:end] = b"" if change == "delete" else value
    outcome(tmp_path, bytes(content))
