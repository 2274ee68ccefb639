"""The report as a file: whole, harmless, and with nothing to fetch."""

import re
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from functions.scan_reporter import html


@pytest.fixture
def report() -> dict[str, Any]:
    counts = {"done": 7, "ignored": 0, "rejected": 1, "failed": 2}
    return {
        "run_id": "0b8f6c9e-5d0a-4f0e-8f60-1f4a1c7f9d22",
        "kind": "vector_index",
        "status": "failed",
        "error": {"code": "too_many_failures", "message": "Too many of its items failed."},
        "reason": "<script>alert(1)</script>",
        "stages": ["embed"],
        "estimate": {"usd": 1.5},
        "started_at": "2026-11-20T03:00:00+00:00",
        "reported_at": "2026-11-20T03:41:07+00:00",
        "items": {"planned": 12, **counts, "left": 2},
        "by_stage": {"process": counts, "embed": {"done": 3, "ignored": 0, "rejected": 0, "failed": 0}},
        "causes": [
            {
                "outcome": "failed",
                "stage": "embed",
                "code": "</svg><script>",
                "message": "<img src=x onerror=alert(1)>",
                "items": 2,
            }
        ],
        "cost_usd": 0.25,
        "findings": {"images_missing": 1},
        "found": [{"kind": "images_missing", "subject": "a/<b>.jpg", "item_id": None}],
        "failures": [
            {
                "item_id": "5f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3d",
                "stage": "embed",
                "code": "<i>",
                "message": None,
                "ended_at": "2026-11-20T03:40:00+00:00",
            }
        ],
    }


def addresses(page: str) -> list[str]:
    """Whatever a browser would fetch or follow."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            found.extend(
                value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "srcset")
            )

    Reader().feed(page)
    return found


def test_a_report_is_one_file_with_charts_and_nothing_to_fetch(report: dict[str, Any]) -> None:
    page = html.render(report).decode()
    assert page.count("<svg") == 3
    assert [address for address in addresses(page) if not address.startswith("#")] == []
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page
    for text in ("Vector index: failed", "Too many of its items failed.", "$0.2500", "estimated $1.5000"):
        assert text in page


def test_texts_from_outside_stay_texts(report: dict[str, Any]) -> None:
    page = html.render(report).decode()
    assert "<script" not in page
    assert "<img" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a/&lt;b&gt;.jpg" in page


def test_a_run_over_nothing_has_a_report_too(report: dict[str, Any]) -> None:
    nothing = dict.fromkeys(("planned", "done", "ignored", "rejected", "failed", "left"), 0)
    empty = {"items": nothing, "by_stage": {}, "causes": [], "failures": [], "findings": {}, "found": []}
    page = html.render(report | empty | {"estimate": None, "started_at": None}).decode()
    assert "<svg" not in page
    assert "<h1>" in page


def test_drawing_leaves_no_finder_of_modules_behind(report: dict[str, Any]) -> None:
    html.render(report)
    assert not [finder for finder in sys.meta_path if type(finder).__module__ == "pygal"]
