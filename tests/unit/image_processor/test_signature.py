"""What bytes are is told by their content."""

import struct
from pathlib import Path

import pytest

from functions.image_processor.signature import FORMATS as OURS
from functions.image_processor.signature import is_cut_short, png_goes_on_after_its_pixels, recognise
from shared.errors import RejectedError
from tests.unit.image_processor.pictures import FORMATS, chunk, format_of, photograph, with_png_chunk


def code_of(tmp_path: Path, content: bytes) -> tuple[str, str]:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(RejectedError) as caught:
        recognise(path)
    return caught.value.code, caught.value.sentence


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_under_any_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "invoice.pdf"
    path.write_bytes(FORMATS[name](photograph().resize((24, 16))))
    assert recognise(path) == format_of(name)
    assert recognise(path) in OURS


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"\xff\xd8",
        b"hello, world",
        b"BMW builds cars, and this is no bitmap",
        b"P6. Of pictures",
        b"GIF is a format",
        b"<html><body><svg></svg></body></html>",
        b"<!DOCTYPE html><title>x</title>",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(40),
        b"MZ\x90\0" + bytes(60),
        b"\x7fELF" + bytes(60),
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"RIFF\x10\0\0\0AVI LIST",
        b"\0\0\0\x18ftypmp42\0\0\0\0isommp42",
        b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
        b"ID3\x04" + bytes(40),
        bytes(5000),
        bytes(range(256)) * 40,
    ],
)
def test_what_is_no_picture_is_not_an_image(content: bytes, tmp_path: Path) -> None:
    assert code_of(tmp_path, content)[0] == "not_an_image"


def test_nothing_is_empty(tmp_path: Path) -> None:
    assert code_of(tmp_path, b"")[0] == "empty"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("PSD", b"8BPS\0\x01" + bytes(30)),
        ("JPEG XL", b"\xff\x0a" + bytes(30)),
        ("JXL", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30)),
        ("ICO", b"\0\0\x01\0\x01\0\x10\x10" + bytes(30)),
        ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("SVG", b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn by hand -->\n\n<svg width="1"/>'),
        ("CR2", b"II*\0\x10\0\0\0CR\x02\0" + bytes(30)),
        ("CR3", b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom"),
        ("EXR", b"\x76\x2f\x31\x01" + bytes(40)),
    ],
)
def test_pictures_of_other_kinds_are_unsupported_and_named(kind: str, content: bytes, tmp_path: Path) -> None:
    code, sentence = code_of(tmp_path, content)
    assert code == "unsupported_format"
    assert sentence == f"{kind} pictures are not supported; use {', '.join(OURS)}."


def box(kind: bytes, *brands: bytes) -> bytes:
    content = b"ftyp" + kind + bytes(4) + b"".join(brands)
    return struct.pack(">L", 4 + len(content)) + content + bytes(100)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (box(b"heic", b"mif1", b"heic"), "HEIF"),
        (box(b"mif1", b"mif1", b"heic"), "HEIF"),
        (box(b"mif1", b"mif1", b"avif", b"miaf"), "AVIF"),
        (box(b"msf1", b"avis"), "AVIF"),
        (box(b"avif"), "AVIF"),
        # What follows the box is not its list of brands.
        (box(b"mif1") + b"avif" * 100, "HEIF"),
    ],
)
def test_the_brands_tell_avif_from_heif(content: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(content)
    assert recognise(path) == found


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"MPO"}))  # whose first picture may be whole
def test_a_whole_file_is_not_cut_and_half_of_it_is(name: str, tmp_path: Path) -> None:
    content = FORMATS[name](photograph().resize((240, 160)))
    path = tmp_path / "original"
    path.write_bytes(content)
    assert not is_cut_short(path, recognise(path))
    for share in (0.02, 0.3, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        assert is_cut_short(path, recognise(path)), share


@pytest.mark.parametrize("name", ["AVIF", "HEIF", "WebP", "PNG", "BMP", "TIFF", "JPEG"])
def test_what_is_appended_does_not_make_a_file_cut(name: str, tmp_path: Path) -> None:
    path = tmp_path / "original"
    content = FORMATS[name](photograph().resize((24, 16)))
    for appended in (b"\0", b"PK\x03\x04rest", b"SEFH" + bytes(20), b"\xff" * 40, b"<html></html>"):
        path.write_bytes(content + appended)
        assert not is_cut_short(path, recognise(path))


def test_what_follows_the_pixels_of_a_png_is_seen(tmp_path: Path) -> None:
    content = FORMATS["PNG"](photograph())
    end = content.rindex(b"IEND") - 4
    path = tmp_path / "original"
    for whole, goes_on in (
        (content, False),
        (with_png_chunk(content, b"eXIf", b"II*\0"), False),
        (content[:end] + chunk(b"eXIf", b"II*\0") + content[end:], True),
        (content[:end], True),  # nobody knows
    ):
        path.write_bytes(whole)
        assert png_goes_on_after_its_pixels(path) == goes_on
