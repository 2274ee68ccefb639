"""libvips gives the pixels that Pillow would give, or leaves a file to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from functions.image_processor import colour, sandbox
from functions.image_processor.reduction import decoded, reduced
from functions.image_processor.rendition import DECODERS
from functions.image_processor.signature import recognise
from tests.contract.conftest import ROOT
from tests.unit.image_processor.pictures import (
    FORMATS,
    GREY,
    chunk,
    difference,
    encoded,
    opened,
    photograph,
    render,
    sixteen_bits,
)

PNGS = sorted(name for name in FORMATS if "PNG" in name and "16-bit" not in name)
TARGET = (200, 133)
Pixels = tuple[str, tuple[int, int], bytes]


def pixels(tmp_path: Path, content: bytes, target: tuple[int, int]) -> Image.Image | None:
    """What libvips makes of a file, in a child process."""
    path = tmp_path / "original"
    path.write_bytes(content)

    def work() -> Pixels | None:
        with DECODERS[recognise(path)](path) as image:
            if recognise(path) == "JPEG":
                image.draft("RGB", target)
            found = decoded(image, target)
        return found and (found.mode, found.size, found.tobytes())

    found = sandbox.run(work)
    return found and Image.frombytes(*found)


def by_pillow(content: bytes) -> Image.Image:
    return colour.resizable(opened(content))


def large() -> Image.Image:
    return photograph().resize((600, 400))


@pytest.mark.parametrize("name", PNGS)
def test_a_png_that_is_not_reduced_has_the_very_same_pixels(name: str, tmp_path: Path) -> None:
    content = FORMATS[name](photograph())
    expected = by_pillow(content)
    found = pixels(tmp_path, content, expected.size)
    assert found is not None
    assert found.convert(expected.mode).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", [*PNGS, "JPEG", "progressive JPEG", "grey JPEG", "WebP", "lossless WebP"])
def test_a_larger_picture_looks_like_its_reduction_by_lanczos(name: str, tmp_path: Path) -> None:
    content = FORMATS[name](large())
    found = pixels(tmp_path, content, TARGET)
    assert found is not None
    expected = by_pillow(content).convert(found.mode).resize(TARGET, Image.Resampling.LANCZOS)
    assert difference(found, expected) < 3


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(PNGS) - {"lossless WebP"}))
def test_what_is_of_the_right_size_or_not_for_libvips_is_left_to_pillow(name: str, tmp_path: Path) -> None:
    picture = photograph().resize((96, 64))
    assert pixels(tmp_path, FORMATS[name](picture), picture.size) is None


@pytest.mark.parametrize("name", ["CMYK JPEG", "16-bit grey PNG", "16-bit colour PNG", "GIF", "AVIF"])
def test_a_larger_one_that_is_not_for_libvips_is_left_to_pillow(name: str, tmp_path: Path) -> None:
    assert pixels(tmp_path, FORMATS[name](large()), TARGET) is None


def test_a_webp_that_is_transparent_somewhere_is_left_to_pillow(tmp_path: Path) -> None:
    picture = large().convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 300, 400))
    assert pixels(tmp_path, encoded(picture, "WEBP"), TARGET) is None


def test_only_the_first_frame_of_an_animation_counts_and_pillow_finds_it(tmp_path: Path) -> None:
    for kind in ("PNG", "WEBP"):
        content = encoded(large(), kind, save_all=True, append_images=[large().rotate(180)])
        assert pixels(tmp_path, content, TARGET) is None


def test_the_colour_of_what_is_transparent_does_not_shine_through(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (600, 400), (255, 0, 0, 255))
    picture.paste((0, 255, 0, 0), (0, 0, 301, 400))
    found = pixels(tmp_path, encoded(picture, "PNG"), TARGET)
    assert found is not None
    seen = found.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0)
    green = Image.composite(found.getchannel("G"), Image.new("L", found.size), seen)
    assert green.getextrema() == (0, 0)
    assert seen.getextrema() == (0, 255)


@pytest.mark.parametrize("name", [*PNGS, "JPEG"])
def test_a_damaged_file_is_left_to_pillow(name: str, tmp_path: Path) -> None:
    content = FORMATS[name](large())
    middle = len(content) // 2
    cut, overwritten = content[:middle], content[:middle] + bytes(64) + content[middle + 64 :]
    assert pixels(tmp_path, cut, TARGET) is None
    if name in PNGS:  # a JPEG has no checksum: other pixels are as good as any
        assert pixels(tmp_path, overwritten, TARGET) is None


def test_metadata_behind_the_pixels_of_a_png_count(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Maker"
    content = encoded(photograph().resize((96, 64)), "PNG")
    end = content.rindex(b"IEND") - 4
    path = tmp_path / "original"
    path.write_bytes(content[:end] + chunk(b"eXIf", exif.tobytes()[6:]) + content[end:])
    found = render(path, 64_000_000, keep_location=False)
    assert (found.width, found.height) == (64, 96)
    assert found.metadata.camera == "Maker"


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    picture = large()
    path = tmp_path / "original"
    path.write_bytes(encoded(sixteen_bits(picture), "PNG"))
    found = render(path, 64_000_000, keep_location=False)
    assert difference(opened(found.image), picture.convert("L")) < 5


@pytest.mark.heavy
@pytest.mark.parametrize("name", FORMATS)
def test_a_picture_of_any_format_is_reduced(name: str, tmp_path: Path) -> None:
    picture = photograph().resize((2401, 1601))  # odd, because rows of some formats are padded
    path = tmp_path / "original"
    path.write_bytes(FORMATS[name](picture))
    found = render(path, 64_000_000, keep_location=False)
    assert found.image_size == (2048, 1366)
    expected = picture.convert("L") if name in GREY else picture
    for derivative, size in ((found.image, found.image_size), (found.thumbnail, found.thumbnail_size)):
        assert difference(opened(derivative), expected.resize(size, Image.Resampling.LANCZOS)) < 5


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "LAB"])
def test_a_decoded_picture_of_any_mode_is_reduced(mode: str) -> None:
    picture = large().convert("RGBA" if "A" in mode and mode != "LAB" else "RGB").convert(mode)
    found = Image.frombytes(*sandbox.run(lambda: (mode, TARGET, reduced(picture, TARGET).tobytes())))
    expected = picture.resize(TARGET, Image.Resampling.LANCZOS)
    for band, wanted in zip(found.split(), expected.split(), strict=True):
        assert difference(band, wanted) < 3


FORKED = """
import sys
from functools import partial
from pathlib import Path
from functions.image_processor import sandbox
from functions.image_processor.rendition import render
work = partial(render, Path(sys.argv[1]), 64_000_000, False)
assert sandbox.run(work).image == work().image  # in a child, and then here
sandbox.run(work)  # in a child again
"""


def test_a_process_forked_from_one_in_which_libvips_worked_says_so_at_once(tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(encoded(large(), "PNG"))
    done = subprocess.run(
        [sys.executable, "-c", FORKED, path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "AssertionError" not in done.stderr
    assert "libvips has worked in the process that this one was forked from" in done.stderr
