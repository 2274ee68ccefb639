"""Pictures of the size that phones take, made of the photographs that the demo shows.

There is none of 12 megapixels among those. Rows of them, enlarged until their pixels are as soft as a
phone's, make one: as a JPEG of quality 92 it has 1.6 bits a pixel, where three phones' own had 1.0 to 1.4
when written the same way. Photographs at their own size would have 2.5, and no lens draws that sharply.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

SHOWN = {
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
}
"""Those in colour: grey ones would be easier than what cameras take."""
SIZES = {2: (1632, 1224, 408), 12: (4032, 3024, 1008), 24: (6000, 4000, 1000)}
"""Megapixels → width, height, and the height of a row."""


def mosaic(width: int, height: int, row: int) -> Image.Image:
    """Fill a picture with rows of photographs; those that come again are mirrored."""
    from cli.demo import photographs

    sources = [Image.open(path).convert("RGB") for path in photographs() if path.name in SHOWN]
    picture, number = Image.new("RGB", (width, height)), 0
    for top in range(0, height, row):
        left = 0
        while left < width:
            photo = sources[number % len(sources)]
            photo = photo if number // len(sources) % 2 == 0 else ImageOps.mirror(photo)
            photo = photo.resize((round(photo.width * row / photo.height), row), Image.Resampling.LANCZOS)
            picture.paste(photo, (left, top))
            left, number = left + photo.width, number + 1
        number += 2
    return picture


def _jpeg(image: Image.Image, path: Path, **options: Any) -> None:
    image.save(path, "JPEG", quality=92, **options)


def _with_profile(image: Image.Image, path: Path) -> None:
    from tests.unit.image_processor.pictures import display_p3

    _jpeg(image, path, icc_profile=display_p3())


def _rotated(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _jpeg(image.transpose(Image.Transpose.ROTATE_90), path, exif=exif)


def _heic(image: Image.Image, path: Path) -> None:
    import pillow_heif

    # The encoder takes minutes otherwise; what reading costs depends little on it.
    pillow_heif.from_pillow(image).save(path, quality=60, enc_params={"preset": "ultrafast"})


KINDS: dict[str, tuple[int, str, Callable[[Image.Image, Path], None]]] = {
    "2 MP JPEG": (2, "jpg", _jpeg),
    "12 MP JPEG": (12, "jpg", _jpeg),
    "12 MP JPEG, Display P3": (12, "jpg", _with_profile),
    "12 MP JPEG, rotated": (12, "jpg", _rotated),
    "24 MP JPEG": (24, "jpg", _jpeg),
    "24 MP JPEG, Display P3": (24, "jpg", _with_profile),
    "12 MP PNG": (12, "png", lambda image, path: image.save(path, "PNG")),
    "12 MP WebP": (12, "webp", lambda image, path: image.save(path, "WEBP", quality=90, method=4)),
    "12 MP HEIC": (12, "heic", _heic),
    "12 MP AVIF": (12, "avif", lambda image, path: image.save(path, "AVIF", quality=80, speed=8)),
}


def make(folder: Path, names: list[str]) -> dict[str, Path]:
    """Return the pictures' files by name; those that are in the folder already are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[int, Image.Image] = {}
    files = {}
    for name in names:
        megapixels, suffix, save = KINDS[name]
        files[name] = folder / f"{name.replace(' ', '-').replace(',', '')}.{suffix}"
        if not files[name].exists():
            if megapixels not in made:
                made[megapixels] = mosaic(*SIZES[megapixels])
            unfinished = files[name].with_name(f"unfinished.{suffix}")
            save(made[megapixels], unfinished)
            unfinished.rename(files[name])
    return files
