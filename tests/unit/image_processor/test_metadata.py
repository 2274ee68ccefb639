"""What a camera wrote is read where it can be, and never stands in the way."""

import struct
from datetime import datetime
from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from functions.image_processor.metadata import Metadata, read
from tests.unit.image_processor.pictures import encoded, opened, with_jpeg_segment

EXIF, GPS = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
NORTH_EAST = {1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 30.0)}


def at(*parts: int) -> datetime:
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - cameras rarely know their zone


def tagged(
    main: dict[int, Any] | None = None,
    details: dict[int, Any] | None = None,
    gps: dict[int, Any] | None = None,
) -> Image.Image:
    """A JPEG as a camera would write it."""
    exif = Image.Exif()
    exif.update(main or {})
    exif.get_ifd(EXIF).update(details or {})
    exif.get_ifd(GPS).update(gps or {})
    return opened(encoded(Image.new("RGB", (4, 4)), "JPEG", exif=exif))


def raw(directory: bytes) -> Image.Image:
    """A JPEG with these bytes for its EXIF, after the header."""
    content = encoded(Image.new("RGB", (4, 4)), "JPEG")
    return opened(with_jpeg_segment(content, 0xFFE1, b"Exif\0\0" + directory))


def test_a_picture_without_metadata_has_none() -> None:
    assert read(Image.new("RGB", (4, 4)), keep_location=True) == Metadata()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024:02:29 13:14:15", at(2024, 2, 29, 13, 14, 15)),
        ("2024-02-29T13:14:15+02:00", at(2024, 2, 29, 13, 14, 15)),
        ("2024/2/9 3:04", at(2024, 2, 9, 3, 4)),
        ("2024:02:29 13:14:15\x00rest of the buffer", at(2024, 2, 29, 13, 14, 15)),
        ("1896:01:01 00:00:00", at(1896, 1, 1)),
        ("2023:02:29 13:14:15", None),
        ("0000:00:00 00:00:00", None),
        ("0001:01:01 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_datetime_the_picture_is_read_or_left_out(text: str, moment: datetime | None) -> None:
    assert read(tagged(details={36867: text}), keep_location=False).captured_at == moment


def test_fractions_of_a_second_are_kept() -> None:
    image = tagged(details={36867: "2024:02:29 13:14:15", 37521: "07"})
    assert read(image, keep_location=False).captured_at == at(2024, 2, 29, 13, 14, 15, 70_000)


def test_the_scan_of_a_print_counts_but_the_last_change_of_the_file_does_not() -> None:
    assert read(tagged(details={36868: "2001:01:01 01:01:01"}), keep_location=False).captured_at
    assert read(tagged(main={306: "2001:01:01 01:01:01"}), keep_location=False).captured_at is None


@pytest.mark.parametrize(
    ("maker", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D70", "NIKON CORPORATION NIKON D70"),
        ("Apple", "iPhone 15 Pro", "Apple iPhone 15 Pro"),
        ("", "DMC-FZ7", "DMC-FZ7"),
        ("SONY", "", "SONY"),
        ("  spaced \n out ", "x\x07y", "spaced out x y"),
        ("<script>", "' OR 1=1 --", "<script> ' OR 1=1 --"),
        ("A" * 500, "", "A" * 100),
        ("\x00\x00", "\x00", None),
    ],
)
def test_the_camera_is_one_printable_line(maker: str, model: str, camera: str | None) -> None:
    assert read(tagged(main={271: maker, 272: model}), keep_location=False).camera == camera


def test_the_place_is_only_read_when_it_is_to_be_kept() -> None:
    image = tagged(gps={**NORTH_EAST, 5: b"\x00", 6: 519.04})
    assert read(image, keep_location=False).location is None
    assert read(image, keep_location=True).location == {
        "latitude": 48.133333,
        "longitude": 11.575,
        "altitude": 519.0,
    }


def test_south_west_and_below_the_sea_are_negative() -> None:
    image = tagged(gps={**NORTH_EAST, 1: "S", 3: "W", 5: b"\x01", 6: 12.0})
    location = read(image, keep_location=True).location
    assert location == {"latitude": -48.133333, "longitude": -11.575, "altitude": -12.0}


@pytest.mark.parametrize(
    "gps",
    [
        {},
        {2: (48.0, 8.0, 0.0)},
        {**NORTH_EAST, 2: (IFDRational(48, 1), IFDRational(8, 0), IFDRational(0, 1))},
        {**NORTH_EAST, 2: (148.0, 0.0, 0.0)},
        {**NORTH_EAST, 4: (181.0, 0.0, 0.0)},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
    ],
)
def test_a_place_that_cannot_be_is_none(gps: dict[int, Any]) -> None:
    assert read(tagged(gps=gps), keep_location=True).location is None


def test_an_altitude_over_zero_is_left_out() -> None:
    location = read(tagged(gps={**NORTH_EAST, 6: IFDRational(5, 0)}), keep_location=True).location
    assert location == {"latitude": 48.133333, "longitude": 11.575}


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    assert read(tagged(main={274: orientation}), keep_location=False).orientation == 1


DAMAGED = {
    "nothing but a header": b"II*\0\x08\0\0\0",
    "no header": b"hello, world",
    "a directory beyond the end": b"II*\0\xff\xff\xff\x7f",
    "more entries than there are bytes": b"II*\0\x08\0\0\0\xff\xff" + bytes(30),
    "a value beyond the end": b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHLL", 271, 2, 1000, 2**31) + bytes(4),
    "a camera made of numbers": b"II*\0\x08\0\0\0\x01\0"
    + struct.pack("<HHLL", 271, 11, 1, 0x7FC00000)
    + bytes(4),
    "an orientation of text": b"II*\0\x08\0\0\0\x01\0"
    + struct.pack("<HHL4s", 274, 2, 4, b"up!\0")
    + bytes(4),
    "details beyond the end": b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHLL", 34665, 4, 1, 2**31) + bytes(4),
    "details that are the directory itself": b"II*\0\x08\0\0\0\x01\0"
    + struct.pack("<HHLL", 34665, 4, 1, 8)
    + bytes(4),
    "details of text": b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHL4s", 34665, 2, 4, b"abc\0") + bytes(4),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the metadata
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_metadata_never_stands_in_the_way(name: str) -> None:
    found = read(raw(DAMAGED[name]), keep_location=True)
    assert (found.orientation, found.captured_at, found.location) == (1, None, None)
    assert found.camera is None or found.camera.isprintable()


def test_what_could_not_be_read_is_named_and_the_rest_is_read() -> None:
    entries = struct.pack("<HHL4s", 271, 2, 4, b"Cam\0") + struct.pack("<HHLL", 34665, 16, 1, 38)
    image = raw(b"II*\0\x08\0\0\0\x02\0" + entries + bytes(4) + struct.pack("<Q", 2**63))
    assert read(image, keep_location=False) == Metadata(camera="Cam", damaged=("captured_at",))
