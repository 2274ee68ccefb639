"""The analyzer without a model: what it says of real photographs, and what it never says."""

import importlib.util
import io
import json
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from functions.analyzer import colours, offline
from functions.analyzer.analysis import Analysis
from functions.analyzer.measure import measure
from functions.analyzer.providers import Picture
from functions.analyzer.reply import Outcome, judge

_spec = importlib.util.find_spec("skimage")
assert _spec is not None, "scikit-image brings the photographs"
assert _spec.origin is not None
PHOTOGRAPHS = Path(_spec.origin).parent / "data"


def web_image(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image = image.convert("RGB")
    image.thumbnail((2048, 2048))
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def photograph(name: str) -> Image.Image:
    with Image.open(PHOTOGRAPHS / name) as image:
        return image.convert("RGB")


def describe(image: Image.Image, **known: object) -> Analysis:
    outcome, found = judge(offline.Offline().describe(Picture(web_image(image), **known), 0, 0))  # type: ignore[arg-type]
    assert outcome is Outcome.VALID
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "category", "headline"),
    [
        ("coffee.png", "Photograph", "Warm photograph in orange and red, wide format"),
        ("rocket.jpg", "Photograph", "Cool, dark photograph in dark blue and dark grey, wide format"),
        ("astronaut.png", "Photograph", "Warm photograph in orange and light grey, square format"),
        ("retina.jpg", "Photograph", "Warm photograph in red and orange, square format"),
        ("hubble_deep_field.jpg", "Photograph", "Very dark photograph in black, wide format"),
        ("chelsea.png", "Photograph", "Warm photograph in brown, wide format"),
        ("camera.png", "Black-and-white photograph", "Black-and-white photograph, square format"),
        ("horse.png", "Graphic", "Bright graphic in black on white, wide format"),
        ("phantom.png", "Graphic", "Very dark graphic in dark grey on black, square format"),
        ("logo.png", "Graphic", "Bright graphic in light green and peach, square format"),
        ("page.png", "Document", "What looks like a page of text, panoramic format"),
    ],
)
def test_a_person_would_nod(name: str, category: str, headline: str) -> None:
    with Image.open(PHOTOGRAPHS / name) as image:
        on_white = Image.new("RGBA", image.size, "white")
        on_white.alpha_composite(image.convert("RGBA"))
    found = describe(on_white)
    assert (found.category, found.headline) == (category, headline)


def test_it_says_that_nothing_was_seen_and_names_no_thing() -> None:
    found = describe(photograph("coffee.png"))
    assert found.summary.startswith("Measured, not seen:")
    assert found.image_details.objects == []
    assert found.image_details.extracted_text == []
    assert found.image_details.emotions == []
    assert found.image_details.key_interest is None
    assert found.media_metadata == type(found.media_metadata)()


def test_it_says_the_same_every_time() -> None:
    picture = Picture(web_image(photograph("chelsea.png")))
    assert offline.Offline().describe(picture, 0, 0) == offline.Offline().describe(picture, 0, 0)


def test_what_the_file_says_of_camera_and_day_is_told_as_that() -> None:
    found = describe(photograph("chelsea.png"), camera="Nikon D70s", captured_at=datetime(2024, 5, 3, 14, 5))  # noqa: DTZ001 - a camera knows no zone
    assert found.summary.endswith("Taken on 3 May 2024 with Nikon D70s, as the file says.")
    assert found.image_details.likely_source == "camera: Nikon D70s"


def test_a_hostile_camera_name_stays_a_name() -> None:
    found = describe(photograph("chelsea.png"), camera="\x00\x1b[2J\ud800" + "x" * 10_000)
    assert len(found.image_details.likely_source or "") < 200
    assert "\x1b" not in found.summary


def test_blur_darkness_and_missing_colour_are_noticed() -> None:
    coffee = photograph("coffee.png")
    assert "Blurry" in describe(coffee.filter(ImageFilter.GaussianBlur(5))).headline.title()
    assert "very dark" in describe(coffee.point(lambda level: level // 4)).image_details.vibes
    assert describe(coffee.convert("L")).category == "Black-and-white photograph"
    assert "sharp" in describe(coffee).summary


def test_screenshots_charts_and_plain_colour_are_no_photographs() -> None:
    chart = Image.new("RGB", (1000, 700), "white")
    draw = ImageDraw.Draw(chart)
    for n, colour in enumerate(("#4e79a7", "#f28e2b", "#e15759", "#59a14f")):
        draw.rectangle((100 + n * 200, 600 - n * 120, 220 + n * 200, 640), fill=colour)
    assert describe(chart).category == "Graphic"

    code = Image.new("RGB", (1280, 800), "#1e1e1e")
    for line in range(24):
        ImageDraw.Draw(code).text(
            (60, 30 + line * 30), "def area(width, height): return width * height", fill="#9cdcfe",
            font=ImageFont.load_default(18),
        )  # fmt: skip
    assert describe(code).category == "Graphic"

    assert describe(Image.new("RGB", (400, 400), "#3366cc")).headline == "Plain blue picture, square format"


def test_a_product_on_white_is_still_a_photograph() -> None:
    shot = Image.new("RGB", (1200, 1200), "white")
    shot.paste(photograph("coffee.png"), (300, 400))
    assert describe(shot).category == "Photograph"


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 5), (63, 64)])
def test_the_smallest_pictures_can_be_measured(size: tuple[int, int]) -> None:
    describe(Image.new("RGB", size, "red"))
    describe(Image.effect_noise(size, 60))


@pytest.mark.parametrize(
    ("size", "word"),
    [((800, 800), "square"), ((800, 600), "wide"), ((600, 800), "upright"), ((1600, 500), "panoramic")],
)
def test_the_format_has_a_word(size: tuple[int, int], word: str) -> None:
    assert measure(web_image(Image.new("RGB", size, "red"))).format == word


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ("#000000", "black"), ("#ffffff", "white"), ("#808080", "grey"), ("#ff0000", "red"),
        ("#00a000", "green"), ("#0000ff", "blue"), ("#ffff00", "yellow"), ("#ffa500", "orange"),
        ("#8b4513", "brown"), ("#ffc0cb", "pink"), ("#800080", "purple"), ("#008080", "teal"),
        ("#000080", "dark blue"), ("#87ceeb", "light blue"), ("#f5f5dc", "cream"), ("#556b2f", "olive"),
        ("#40e0d0", "turquoise"), ("#8b0000", "dark red"), ("#006400", "dark green"), ("#d2b48c", "beige"),
        ("#708090", "blue-grey"),
    ],
)  # fmt: skip
def test_colours_have_the_names_that_people_use(colour: str, name: str) -> None:
    assert colours.name(colours.oklab(*bytes.fromhex(colour[1:]))) == name


def test_a_picture_of_all_colours_can_be_described() -> None:
    names = colours.GREYS | colours.HUES
    mosaic = Image.new("RGB", (40 * len(names), 300))
    for n, (example, *_) in enumerate(names.values()):
        mosaic.paste(example, (40 * n, 0, 40 * n + 40, 300))
    assert describe(mosaic).category == "Graphic"


def test_every_name_has_its_kin() -> None:
    assert set().union(*colours.KIN) == (colours.GREYS | colours.HUES).keys()


def test_the_reply_is_kept_in_the_form_of_a_message() -> None:
    reply = offline.Offline().describe(Picture(web_image(photograph("coffee.png"))), 0, 0)
    assert json.loads(reply.raw)["model"] == "measured-1"
    assert (reply.input_tokens, reply.output_tokens) == (0, 0)
