"""What a camera wrote about a picture, read from bytes that may be damaged or made up.

Real EXIF holds NUL, text in no known encoding, numbers that are not finite and rationals over zero, and
a damaged directory makes Pillow raise nearly anything. A picture is worth more than its metadata: what
cannot be read is left out.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from shared.text import clean

EARLIEST_YEAR = 1800
"""There were no cameras before; software writes 0001-01-01 for "unknown"."""
MAX_CAMERA_CHARACTERS = 100

DATE = re.compile(r"(\d{4})[:/.-](\d{1,2})[:/.-](\d{1,2})[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2}))?")


@dataclass(frozen=True)
class Metadata:
    """What is kept of a picture's EXIF.

    Attributes:
        orientation: 1 to 8, how to turn the stored pixels so that the picture is upright.
        captured_at: wall-clock time at the camera, without a zone.
        camera: maker and model.
        location: `{"latitude", "longitude", "altitude"?}` in degrees (WGS 84) and metres.
        damaged: names of what was there but could not be read.
    """

    orientation: int = 1
    captured_at: datetime | None = None
    camera: str | None = None
    location: dict[str, float] | None = None
    damaged: tuple[str, ...] = field(default=())


def read(image: Image.Image, keep_location: bool) -> Metadata:
    """Read what is kept of the metadata of a decoded picture. Never raises.

    Args:
        keep_location: whether the place is read at all.
    """
    metadata = Metadata()
    parts: dict[str, Callable[[Image.Exif], Any]] = {
        "orientation": _orientation,
        "captured_at": _captured_at,
        "camera": _camera,
    }
    if keep_location:
        parts["location"] = _location
    for name, part in parts.items():
        try:
            metadata = replace(metadata, **{name: part(image.getexif())})
        except Exception:  # noqa: BLE001 - a damaged directory makes Pillow raise nearly anything
            metadata = replace(metadata, damaged=(*metadata.damaged, name))
    return metadata


def _orientation(exif: Image.Exif) -> int:
    value = exif.get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _captured_at(exif: Image.Exif) -> datetime | None:
    """Return when the shutter was released, or when a print or negative was scanned.

    `DateTime` is left out: it tells when a program last saved the file.
    """
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for when, fraction in (
        (ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal),
        (ExifTags.Base.DateTimeDigitized, ExifTags.Base.SubsecTimeDigitized),
    ):
        moment = _moment(_text(details.get(when)), _text(details.get(fraction)))
        if moment:
            return moment
    return None


def _moment(text: str, fraction: str) -> datetime | None:
    found = DATE.match(text)
    if not found:
        return None
    digits = re.match(r"\d{1,6}", fraction)
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        moment = datetime(  # noqa: DTZ001 - cameras rarely know their zone
            year, month, day, hour, minute, second, int(digits[0].ljust(6, "0")) if digits else 0
        )
    except ValueError:  # the 0000:00:00 of a camera whose clock was never set
        return None
    return moment if year >= EARLIEST_YEAR else None


def _camera(exif: Image.Exif) -> str | None:
    maker, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    # "Canon" and "Canon EOS 5D": most makers repeat themselves.
    name = model if maker and model.lower().startswith(maker.lower()) else f"{maker} {model}"
    return name.strip()[:MAX_CAMERA_CHARACTERS].strip() or None


def _text(value: Any) -> str:
    """Return printable text on one line; an empty one for anything else."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    # Some cameras fill up with what was in memory after the NUL that ends the text.
    text = clean(value.partition("\x00")[0])
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _location(exif: Image.Exif) -> dict[str, float] | None:
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    latitude = _degrees(gps, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "S", 90)
    longitude = _degrees(gps, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "W", 180)
    # Off the coast of Africa, at exactly 0° 0°, are only the pictures of cameras that had no fix.
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    location = {"latitude": latitude, "longitude": longitude}
    altitude = _number(gps.get(ExifTags.GPS.GPSAltitude))
    if altitude is not None:
        below = gps.get(ExifTags.GPS.GPSAltitudeRef) in (1, b"\x01")
        location["altitude"] = round(-altitude if below else altitude, 1)
    return location


def _degrees(gps: Mapping[int, Any], tag: int, reference: int, negative: str, limit: int) -> float | None:
    """Return signed degrees from degrees, minutes and seconds."""
    value = gps.get(tag)
    parts = [_number(part) for part in (value if isinstance(value, tuple) else (value,))]
    numbers = [part for part in parts if part is not None]
    if not parts or len(parts) > 3 or len(numbers) < len(parts):
        return None
    degrees = sum(number / 60**power for power, number in enumerate(numbers))
    if _text(gps.get(reference)).upper().startswith(negative):
        degrees = -degrees
    return round(degrees, 6) if abs(degrees) <= limit else None


def _number(value: Any) -> float | None:
    """Return a finite number; None for a rational over zero and everything that is no number."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
