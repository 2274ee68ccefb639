"""Colours are what the file means, in sRGB."""

import pytest
from PIL import Image, ImageCms

from functions.image_processor import colour
from tests.unit.image_processor.pictures import (
    cmyk_profile,
    difference,
    display_p3,
    grey_profile,
    noise,
    photograph,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def flat(mode: str, value: object) -> Image.Image:
    return Image.new(mode, (8, 8), value)  # type: ignore[arg-type]


def shown(image: Image.Image, profile: bytes | None) -> tuple[int, ...]:
    result = colour.to_srgb(image, profile)
    assert result.mode == "RGB"
    pixel = result.getpixel((3, 3))
    assert isinstance(pixel, tuple)
    return pixel


def close(one: tuple[int, ...], other: tuple[int, ...], within: int = 3) -> bool:
    return all(abs(a - b) <= within for a, b in zip(one, other, strict=True))


def test_a_wide_gamut_is_converted() -> None:
    # Linear light by gamma 2.2, the D50 matrix of Display P3, the inverse one of sRGB, its curve.
    assert close(shown(flat("RGB", (200, 100, 50)), display_p3()), (216, 93, 24))
    assert close(shown(flat("RGB", (128, 128, 128)), display_p3()), (128, 128, 128))


def test_srgb_under_whatever_name_is_left_alone() -> None:
    picture = photograph()
    assert difference(colour.to_srgb(picture, SRGB), picture) == 0


def test_a_grey_profile_is_applied_to_grey() -> None:
    light = shown(flat("L", 128), grey_profile(1.0))
    assert close(light, (188, 188, 188))  # half of the light


def test_a_profile_of_colours_is_applied_to_grey_pixels_too() -> None:
    assert close(shown(flat("L", 90), display_p3()), (90, 90, 90))


def test_inks_are_converted_by_their_profile() -> None:
    assert close(shown(flat("CMYK", (0, 0, 0, 0)), cmyk_profile()), (255, 255, 255))
    assert close(shown(flat("CMYK", (255, 0, 0, 0)), cmyk_profile()), (119, 119, 119))  # L* 50
    assert close(shown(flat("CMYK", (255, 0, 0, 0)), None), (0, 255, 255))


def test_lab_is_converted_without_a_profile() -> None:
    assert close(shown(flat("LAB", (136, 208, 195)), None), (255, 0, 0), within=12)


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"not a profile",
        SRGB[:200],
        SRGB[:40] + bytes(len(SRGB) - 40),
        bytes(10_000),
        cmyk_profile(),
        grey_profile(2.2),
    ],
)
def test_a_profile_that_is_broken_or_of_other_pixels_is_ignored(profile: bytes) -> None:
    assert shown(flat("RGB", (200, 100, 50)), profile) == (200, 100, 50)


def test_transparency_is_put_on_white_after_the_conversion() -> None:
    half = flat("RGBA", (200, 100, 50, 128))
    assert close(shown(half, display_p3()), (235, 174, 139))
    assert close(shown(flat("LA", (0, 0)), None), (255, 255, 255))


def test_dominant_colours_are_the_largest_first() -> None:
    picture = Image.new("RGB", (100, 100), "#ff0000")
    picture.paste("#0000ff", (0, 0, 100, 30))
    picture.paste("#00ff00", (0, 0, 100, 10))
    found = colour.dominant(picture)
    # Where two colours meet, pixels of both are averaged.
    assert [entry["hex"] for entry in found][:2] == ["#ff0000", "#0000ff"]
    assert found[0]["share"] == pytest.approx(0.7, abs=0.03)
    assert sum(entry["share"] for entry in found) == pytest.approx(1, abs=0.001)


def test_a_flat_picture_has_one_colour() -> None:
    for size in ((1, 1), (300, 200), (1, 2000)):
        assert colour.dominant(Image.new("RGB", size, "#123456")) == [{"hex": "#123456", "share": 1.0}]


def test_the_hash_survives_scaling_and_compression_and_tells_pictures_apart() -> None:
    cat, coffee = photograph(), photograph("coffee.png")

    def bits(one: Image.Image, other: Image.Image) -> int:
        return ((colour.perceptual_hash(one) ^ colour.perceptual_hash(other)) & (2**64 - 1)).bit_count()

    assert bits(cat, cat.resize((120, 80))) <= 3
    assert bits(cat, cat.quantize(16).convert("RGB")) <= 8
    assert bits(cat, coffee) > 15
    assert bits(cat, cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 15


def test_the_hash_is_a_bigint_of_postgresql() -> None:
    rising, falling = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L").rotate(270)
    assert {colour.perceptual_hash(rising), colour.perceptual_hash(falling)} == {0, -1}
    for seed in range(20):
        assert -(2**63) <= colour.perceptual_hash(noise((32, 32), seed)) < 2**63


def test_twelve_bits_in_sixteen_are_scaled_by_twelve() -> None:
    picture = Image.linear_gradient("L")
    twelve = picture.convert("I").point(lambda value: value * 16).convert("I;16")
    twelve.tag_v2 = {258: (12,)}  # type: ignore[attr-defined]
    assert difference(colour.resizable(twelve), picture) < 1


def test_a_tiff_that_counts_from_white_is_turned_round() -> None:
    picture = Image.linear_gradient("L")
    wide = picture.convert("I").point(lambda value: value * 257).convert("I;16")
    wide.tag_v2 = {258: (16,), 262: 0}  # type: ignore[attr-defined]
    assert difference(colour.resizable(wide), picture.point(lambda value: 255 - value)) < 1


ONE_BAND = ["1", "L", "P", "I", "F", "I;16", "I;16B", "I;16L"]
MORE_BANDS = ["LA", "La", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"]


@pytest.mark.parametrize("mode", ONE_BAND + MORE_BANDS)
def test_every_mode_becomes_srgb(mode: str) -> None:
    assert colour.to_srgb(colour.resizable(Image.new(mode, (3, 3))), SRGB).mode == "RGB"
