"""Nothing of the original but its pixels is in the derivatives: told by their bytes, not by a library."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from functions.image_processor.rendition import Rendition
from tests.unit.image_processor.pictures import (
    FORMATS,
    display_p3,
    encoded,
    photograph,
    render,
    with_jpeg_segment,
    with_png_chunk,
)

SECRET = b"MAGPIE-SECRET-48.1333N"
PAYLOAD = b"<script>alert(document.cookie)</script>"


def rendered(tmp_path: Path, content: bytes) -> Rendition:
    path = tmp_path / "original"
    path.write_bytes(content)
    return render(path, 64_000_000, keep_location=True)


def jpeg_segments(content: bytes) -> list[tuple[int, bytes]]:
    """Return marker and content of each segment, and check that nothing is behind the end."""
    assert content[:2] == b"\xff\xd8"
    segments, position = [], 2
    while True:
        marker, length = struct.unpack(">HH", content[position : position + 4])
        segments.append((marker, content[position + 4 : position + 2 + length]))
        position += 2 + length
        if marker == 0xFFDA:
            break
    end = content.index(b"\xff\xd9", position)
    assert end == len(content) - 2
    return segments


def assert_clean(rendition: Rendition) -> None:
    """Check the containers part by part against what a decoder needs."""
    segments = jpeg_segments(rendition.image)
    tables = {0xFFDB, 0xFFC4, 0xFFC0, 0xFFC2, 0xFFDA}  # quantisation, Huffman, frame, scan
    assert {marker for marker, _ in segments} - tables == {0xFFE0}
    # JFIF, version 1.01, no unit, density 1 × 1, no thumbnail.
    assert [body for marker, body in segments if marker == 0xFFE0] == [b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"]

    riff, size, kind, chunk, length = struct.unpack("<4sL4s4sL", rendition.thumbnail[:20])
    assert (riff, kind, chunk) == (b"RIFF", b"WEBP", b"VP8 ")
    assert size + 8 == len(rendition.thumbnail)
    assert 20 + length + length % 2 == len(rendition.thumbnail)


def exif() -> Image.Exif:
    found = Image.Exif()
    found[271] = SECRET.decode()
    found[37510] = SECRET
    found.get_ifd(34853).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 30.0), 27: SECRET})
    return found


def text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", SECRET.decode())
    info.add_text("Description", SECRET.decode() * 3, zip=True)
    info.add_itxt("XML:com.adobe.xmp", f"<x>{SECRET.decode()}</x>")
    return info


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("payload.txt", SECRET + PAYLOAD)
    return file.getvalue()


SMALL = photograph().resize((96, 64))
JPEG, PNG, GIF = (FORMATS[name](SMALL) for name in ("JPEG", "PNG", "GIF"))
PROFILE = display_p3(SECRET)
XMP = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"

TAGGED = {
    "JPEG": encoded(SMALL, "JPEG", exif=exif(), icc_profile=PROFILE, comment=SECRET, xmp=XMP),
    "JPEG with IPTC": with_jpeg_segment(JPEG, 0xFFED, b"Photoshop 3.0\0" + SECRET),
    "MPO": encoded(SMALL, "MPO", exif=exif(), save_all=True, append_images=[SMALL]),
    "PNG": encoded(SMALL, "PNG", exif=exif(), icc_profile=PROFILE, pnginfo=text()),
    "GIF": encoded(SMALL.quantize(64), "GIF", comment=SECRET),
    "WebP": encoded(SMALL, "WEBP", exif=exif(), icc_profile=PROFILE, xmp=XMP),
    "TIFF": encoded(
        SMALL, "TIFF", exif=exif(), icc_profile=PROFILE, tiffinfo={270: SECRET.decode(), 700: XMP}
    ),
    "AVIF": encoded(SMALL, "AVIF", exif=exif(), icc_profile=PROFILE, xmp=XMP, speed=10),
    "HEIF": encoded(SMALL, "HEIF", exif=exif(), icc_profile=PROFILE, xmp=XMP),
}

POLYGLOTS = {
    "ZIP behind a JPEG": JPEG + zipped(),
    "ZIP behind a PNG": PNG + zipped(),
    "ZIP behind a GIF": GIF + zipped(),
    "HTML in the comment of a JPEG": with_jpeg_segment(JPEG, 0xFFFE, PAYLOAD + SECRET),
    "HTML in an unknown segment of a JPEG": with_jpeg_segment(JPEG, 0xFFEB, PAYLOAD + SECRET),
    "HTML behind a JPEG": JPEG + PAYLOAD + SECRET,
    "PHP in a chunk of a PNG": with_png_chunk(PNG, b"tEXt", b"x\0<?php system($_GET['c']); ?>" + SECRET),
    "HTML in a private chunk of a PNG": with_png_chunk(PNG, b"maGc", PAYLOAD + SECRET),
    "a compressed chunk of a PNG": with_png_chunk(PNG, b"zTXt", b"x\0\0" + zlib.compress(PAYLOAD + SECRET)),
    "JavaScript in the comment of a GIF": encoded(
        SMALL.quantize(64), "GIF", comment=b"*/=1;alert(1)//" + SECRET
    ),
    "PDF behind a JPEG": JPEG + b"%PDF-1.4\n" + SECRET + b"\n%%EOF",
    "RAR behind a BMP": FORMATS["BMP"](SMALL) + b"Rar!\x1a\x07\x00" + SECRET,
    "a box behind a HEIF": FORMATS["HEIF"](SMALL) + struct.pack(">L4s", 8 + len(SECRET), b"uuid") + SECRET,
}


@pytest.mark.parametrize("name", TAGGED)
def test_no_metadata_is_left(name: str, tmp_path: Path) -> None:
    # Compressed there, and so not to be searched for.
    assert SECRET in TAGGED[name] or name in {"PNG"}
    rendition = rendered(tmp_path, TAGGED[name])
    assert_clean(rendition)
    assert SECRET not in rendition.image + rendition.thumbnail


@pytest.mark.parametrize("name", POLYGLOTS)
def test_no_payload_is_left(name: str, tmp_path: Path) -> None:
    rendition = rendered(tmp_path, POLYGLOTS[name])
    assert_clean(rendition)
    for part in (SECRET, PAYLOAD, b"PK\x03\x04", b"<?php", b"%PDF", b"Rar!", b"alert"):
        assert part not in rendition.image + rendition.thumbnail


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_ends_clean(name: str, tmp_path: Path) -> None:
    assert_clean(rendered(tmp_path, FORMATS[name](SMALL)))
