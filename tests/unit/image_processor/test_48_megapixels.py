"""A 48-megapixel picture of a phone works in every format, within the memory that the function has."""

import resource
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from functions.image_processor import sandbox
from functions.image_processor.rendition import Rendition, render
from functions.image_processor.sandbox import Bounds
from tests.unit.image_processor.pictures import encoded, png, zlib

pytestmark = pytest.mark.heavy

SIZE = (8064, 5952)
BUDGET = Bounds().memory_bytes
ROOM = 0.7
"""Share of the memory that the worst format may take: the limit of pixels is a third higher."""


def picture() -> Image.Image:
    """Two flat halves: what a decoder allocates depends on the size, not on what is to be seen."""
    image = Image.new("RGB", SIZE, (180, 90, 40))
    image.paste((20, 60, 120), (0, 0, SIZE[0] // 2, SIZE[1]))
    return image


def sixteen_bits_of_rgba() -> bytes:
    packer = zlib.compressobj(1)
    line = b"\0" + b"\x80\x80\x40\x40\x20\x20\xff\xff" * SIZE[0]
    return png(SIZE, 16, 6, b"".join(packer.compress(line) for _ in range(SIZE[1])) + packer.flush())


def measured(path: Path) -> tuple[Rendition, int]:
    """Return the rendition and the most memory that was resident beyond what the child began with."""

    def work() -> tuple[Rendition, int]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rendition = render(path, 64_000_000, keep_location=False)
        return rendition, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

    return sandbox.run(work)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True, "subsampling": 0}),
    "PNG": ("PNG", {"compress_level": 1}),
    "GIF": ("GIF", {}),
    "WebP": ("WEBP", {"method": 0}),
    "lossless WebP": ("WEBP", {"lossless": True, "method": 0, "quality": 0}),
    "TIFF": ("TIFF", {}),
    "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "BMP": ("BMP", {}),
    "AVIF": ("AVIF", {"speed": 10}),
    "HEIF": ("HEIF", {"quality": 10, "enc_params": {"preset": "ultrafast", "tu-intra-depth": "1"}}),
}


@pytest.mark.parametrize("name", CASES)
def test_it_works(name: str, tmp_path: Path) -> None:
    kind, options = CASES[name]
    path = tmp_path / "original"
    path.write_bytes(encoded(picture(), kind, **options))
    check(path)


def test_it_works_with_the_widest_pixels_of_all(tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(sixteen_bits_of_rgba())
    check(path)


def check(path: Path) -> None:
    rendition, peak = measured(path)
    assert (rendition.width, rendition.height) == SIZE
    assert max(rendition.image_size) in range(2016, 2049)
    assert rendition.thumbnail_size == (512, 378)
    assert peak < ROOM * BUDGET
