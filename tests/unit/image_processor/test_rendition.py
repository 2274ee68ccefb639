"""Any picture becomes a web image and a thumbnail that look like it."""

from pathlib import Path

import pytest
from PIL import Image

from functions.image_processor.rendition import THUMBNAIL_SIDE, WEB_SIDE, Rendition, fit
from shared.errors import RejectedError
from tests.unit.image_processor.pictures import (
    FORMATS,
    GREY,
    PHOTOS,
    chunk,
    difference,
    encoded,
    format_of,
    noise,
    opened,
    photograph,
    render,
    tiff,
)

MAX_PIXELS = 64_000_000

needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="there is no ../shared/photos")


def rendered(tmp_path: Path, content: bytes, *, max_pixels: int = MAX_PIXELS) -> Rendition:
    path = tmp_path / "original"
    path.write_bytes(content)
    return render(path, max_pixels, keep_location=False)


def code_of(tmp_path: Path, content: bytes, *, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(RejectedError) as caught:
        rendered(tmp_path, content, max_pixels=max_pixels)
    return caught.value.code


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_looks_like_the_picture(name: str, tmp_path: Path) -> None:
    picture = photograph()
    rendition = rendered(tmp_path, FORMATS[name](picture))

    expected = picture.convert("L") if name in GREY else picture
    assert rendition.format == format_of(name)
    assert (rendition.width, rendition.height) == rendition.image_size == picture.size
    assert difference(opened(rendition.image), expected) < 5
    shown = opened(rendition.thumbnail)
    assert shown.size == rendition.thumbnail_size == (451, 300)
    assert shown.format == "WEBP"
    assert difference(shown, expected) < 5


@needs_photos
@pytest.mark.parametrize("kind", ["Landscape", "Portrait"])
def test_all_eight_orientations_look_alike(kind: str) -> None:
    upright, *others = (
        render(PHOTOS / f"orientation/{kind}_{number}.jpg", MAX_PIXELS, keep_location=False)
        for number in range(1, 9)
    )
    for other in others:
        assert (other.width, other.height) == (upright.width, upright.height)
        assert other.image_size == upright.image_size
        # A digit in the middle of the picture differs; a mirrored picture differs by 40.
        assert difference(opened(other.image), opened(upright.image)) < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied_in_every_format_that_has_it(
    kind: str, orientation: int, tmp_path: Path
) -> None:
    picture = photograph().resize((200, 120))
    stored = {
        1: picture,
        2: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: picture.transpose(Image.Transpose.ROTATE_180),
        4: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: picture.transpose(Image.Transpose.TRANSPOSE),
        6: picture.transpose(Image.Transpose.ROTATE_90),
        7: picture.transpose(Image.Transpose.TRANSVERSE),
        8: picture.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    rendition = rendered(tmp_path, encoded(stored, kind, exif=exif))
    assert (rendition.width, rendition.height) == (200, 120)
    assert difference(opened(rendition.image), picture) < 6


@needs_photos
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("arrow.heic", (3024, 4032)),
        ("pug.heic", (4032, 3024)),
        ("xiaomi.heic", (2592, 1944)),
        ("aux_YCbCr.heic", (4000, 1848)),
        ("L_xmp.heif", (32, 32)),
        ("RGBA_10__128x128.heif", (128, 128)),
    ],
)
def test_pictures_of_real_phones_are_read(name: str, size: tuple[int, int]) -> None:
    rendition = render(PHOTOS / "heic" / name, MAX_PIXELS, keep_location=False)
    assert rendition.format == "HEIF"
    assert (rendition.width, rendition.height) == size
    assert rendition.image_size == fit(size, WEB_SIDE)


@needs_photos
@pytest.mark.parametrize(("name", "code"), [("corrupted.heic", "corrupt"), ("truncated.heic", "truncated")])
def test_damaged_is_told_from_cut_short(name: str, code: str, tmp_path: Path) -> None:
    assert code_of(tmp_path, (PHOTOS / "heic" / name).read_bytes()) == code


@needs_photos
def test_a_phone_picture_that_broke_off_does_not_become_a_half_black_one(tmp_path: Path) -> None:
    whole = (PHOTOS / "heic/pug.heic").read_bytes()
    for share in (0.999, 0.9, 0.5, 0.1):
        assert code_of(tmp_path, whole[: int(len(whole) * share)]) == "truncated"


@pytest.mark.parametrize(
    ("size", "web"),
    [
        ((2048, 1536), (2048, 1536)),
        ((2047, 10), (2047, 10)),
        ((3000, 2000), (2048, 1365)),
        ((2000, 3000), (1365, 2048)),
        ((1, 1), (1, 1)),
        ((30_000, 2), (2048, 1)),
        ((2, 30_000), (1, 2048)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_longest_side_is_bounded_and_nothing_is_enlarged(
    kind: str, size: tuple[int, int], web: tuple[int, int], tmp_path: Path
) -> None:
    rendition = rendered(tmp_path, encoded(Image.new("RGB", size, "teal"), kind))
    assert (rendition.width, rendition.height) == size
    assert rendition.image_size == opened(rendition.image).size == web
    assert rendition.thumbnail_size == opened(rendition.thumbnail).size == fit(size, THUMBNAIL_SIDE)


def test_a_phone_jpeg_is_taken_as_it_decodes_at_half_its_size(tmp_path: Path) -> None:
    rendition = rendered(tmp_path, encoded(Image.new("RGB", (4032, 3024), "teal"), "JPEG"))
    assert rendition.image_size == (2016, 1512)
    assert rendition.thumbnail_size == (512, 384)


def test_a_jpeg_over_the_pixel_limit_is_read_at_reduced_scale(tmp_path: Path) -> None:
    picture = photograph().resize((4200, 2800))
    rendition = rendered(tmp_path, encoded(picture, "JPEG"), max_pixels=4_000_000)
    assert (rendition.width, rendition.height) == (4200, 2800)
    assert difference(opened(rendition.thumbnail), picture.resize((512, 341))) < 5


@pytest.mark.parametrize(
    "name", sorted(set(FORMATS) - {"JPEG", "progressive JPEG", "grey JPEG", "CMYK JPEG", "MPO"})
)
def test_other_formats_over_the_pixel_limit_are_rejected(name: str, tmp_path: Path) -> None:
    picture = photograph().resize((300, 200))
    content = FORMATS[name](picture)
    assert rendered(tmp_path, content, max_pixels=60_000)
    assert code_of(tmp_path, content, max_pixels=59_999) == "too_many_pixels"


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 32, 64))
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.paste(0, (0, 0, 32, 64))
    true_colour = Image.new("RGB", (64, 64), (255, 0, 0))
    true_colour.paste((1, 2, 3), (0, 0, 32, 64))
    for content in (
        encoded(picture, "PNG"),
        encoded(picture, "WEBP", lossless=True),
        encoded(picture, "TIFF"),
        encoded(picture, "AVIF", quality=95),
        encoded(palette, "PNG", transparency=0),
        encoded(palette, "GIF", transparency=0),
        encoded(palette, "PNG", transparency=b"\x00\xff"),
        encoded(true_colour, "PNG", transparency=(1, 2, 3)),
    ):
        web = opened(rendered(tmp_path, content).image)
        assert difference(web.crop((4, 4, 28, 60)), Image.new("RGB", (24, 56), "white")) < 6
        assert difference(web.crop((36, 4, 60, 60)), Image.new("RGB", (24, 56), "red")) < 6


def test_half_transparent_grey_is_half_as_dark(tmp_path: Path) -> None:
    content = encoded(Image.new("LA", (32, 32), (0, 128)), "PNG")
    web = opened(rendered(tmp_path, content).image)
    assert difference(web, Image.new("RGB", (32, 32), (127, 127, 127))) < 2


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    picture = Image.new("1", (64, 64), 1)
    picture.paste(0, (0, 0, 32, 64))
    for kind in ("PNG", "TIFF", "BMP"):
        web = opened(rendered(tmp_path, encoded(picture, kind)).image)
        assert difference(web, picture.convert("RGB")) < 2


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_natural_range_are_spread_over_it(mode: str, tmp_path: Path) -> None:
    picture = Image.linear_gradient("L")
    wide = picture.convert("F").point(lambda value: value * 100.0 + -5000.0).convert(mode)
    web = opened(rendered(tmp_path, encoded(wide, "TIFF")).image)
    assert difference(web, picture) < 3


def test_a_raster_that_begins_without_data_is_shown_all_the_same(tmp_path: Path) -> None:
    picture = Image.linear_gradient("L")
    wide = picture.convert("F").point(lambda value: value * 2.0 + 10.0)
    wide.paste(float("nan"), (0, 0, 16, 4))
    wide.paste(float("inf"), (200, 200, 204, 204))
    web = opened(rendered(tmp_path, encoded(wide, "TIFF")).image)
    assert difference(web.crop((32, 16, 190, 250)), picture.crop((32, 16, 190, 250))) < 6


def test_only_the_first_of_many_frames_is_read(tmp_path: Path) -> None:
    first = photograph().resize((96, 64))
    others = [noise((96, 64), seed) for seed in range(1, 30)]
    for kind in ("GIF", "WEBP", "TIFF", "PNG", "AVIF"):
        content = encoded(first, kind, save_all=True, append_images=others)
        assert difference(opened(rendered(tmp_path, content).image), first) < 12


def test_what_follows_the_first_frame_may_be_damaged(tmp_path: Path) -> None:
    first = photograph().resize((96, 64))
    for kind in ("GIF", "TIFF"):
        alone = encoded(first, kind)
        content = encoded(first, kind, save_all=True, append_images=[noise((96, 64))])
        damaged = content[: len(alone) + 200] + bytes(300) + content[len(alone) + 500 :]
        assert difference(opened(rendered(tmp_path, damaged).image), first) < 12


def test_rubbish_behind_a_picture_is_ignored(tmp_path: Path) -> None:
    picture = photograph().resize((96, 64))
    rubbish = noise((40, 40)).tobytes()
    for name in ("JPEG", "PNG", "GIF", "WebP", "TIFF", "BMP", "HEIF"):
        assert rendered(tmp_path, FORMATS[name](picture) + rubbish).width == 96


def test_a_raw_file_of_a_camera_is_not_shown_as_its_small_preview(tmp_path: Path) -> None:
    preview = {256: (3, 4), 257: (3, 4), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 300), 279: (4, 16)}
    assert rendered(tmp_path, tiff(preview)).width == 4
    assert code_of(tmp_path, tiff({**preview, 254: (4, 1)})) == "unsupported_format"
    assert code_of(tmp_path, tiff({**preview, 50706: (4, 0x00000401)})) == "unsupported_format"


def test_sixteen_bit_transparency_is_no_reason_to_stumble(tmp_path: Path) -> None:
    content = FORMATS["16-bit colour PNG"](photograph().resize((40, 30)))
    content = content[:33] + chunk(b"tRNS", b"\x12\x34\xff\xff\x80\x00") + content[33:]
    assert rendered(tmp_path, content).width == 40
