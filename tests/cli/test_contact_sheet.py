"""The page that the demo writes."""

from html.parser import HTMLParser

from cli.contact_sheet import MARK, Card, Row, write


class Page(HTMLParser):
    """Tags with their attributes, and the text, of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data


def sheet(tmp_path, **changes):
    thumbnail = tmp_path / "a.webp"
    thumbnail.write_bytes(b"webp")
    card = Card(**{"name": "a.png", "headline": "A cup", "category": "Photograph", "ready": True,
                   "thumbnail": thumbnail, "provider": "offline", "model": "measured-1",
                   **changes})  # fmt: skip
    written = write(tmp_path / "index.html", [card], [Row("a <b>cup</b>", [card]), Row("nothing", [])], 12.34)
    return written.read_text()


def test_the_page_holds_its_pictures_and_asks_for_nothing(tmp_path):
    page = Page(sheet(tmp_path))

    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert sources == ["data:image/webp;base64,d2VicA=="] * 2
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe"}]
    assert "12.3 s" in page.words


def test_whatever_a_picture_is_called_is_text_on_the_page(tmp_path):
    hostile = '<script>alert(1)</script>" onerror="alert(1) {{ 7 * 7 }} \udce9'

    page = Page(sheet(tmp_path, name=hostile, headline=hostile, category=hostile))

    assert "script" not in [tag for tag, _ in page.tags]
    assert "<script>alert(1)</script>" in page.words
    assert "{{ 7 * 7 }}" in page.words
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert "a <b>cup</b>" in page.words


def test_a_picture_without_thumbnail_has_its_place(tmp_path):
    page = Page(sheet(tmp_path, thumbnail=None, ready=False))

    assert "img" not in [tag for tag, _ in page.tags]
    assert "no thumbnail" in page.words


def test_the_page_is_known_for_the_demos_own(tmp_path):
    assert MARK in sheet(tmp_path)
