"""What people and programs read."""

import json
from datetime import UTC, datetime

import pytest

from cli.output import age, duration, plain, short_ids, size, write_json


@pytest.mark.parametrize(
    ("count", "words"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345, "12 kB"), (999_499, "999 kB"),
     (999_600, "1.0 MB"), (4_560_000, "4.6 MB"), (2_000_000_000_000, "2.0 TB")],
)  # fmt: skip
def test_sizes_are_readable(count, words):
    assert size(count) == words


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(None, ""), (0.4, "0 ms"), (312.4, "312 ms"), (1_440, "1.4 s"), (65_000, "1 min 5 s")],
)
def test_durations_are_readable(milliseconds, words):
    assert duration(milliseconds) == words


@pytest.mark.parametrize(
    ("created", "words"),
    [("2026-11-20T11:59:40+00:00", "now"), ("2026-11-20T11:00:01Z", "59 min"),
     ("2026-11-20T12:00:00+02:00", "2 h"), ("2026-11-10T12:00:00", "10 d"), ("yesterday", ""), (None, "")],
)  # fmt: skip
def test_ages_are_readable(created, words):
    assert age(created, datetime(2026, 11, 20, 12, tzinfo=UTC)) == words


def test_short_ids_tell_items_apart():
    alike = [f"01939c2f-71b0-7000-8000-0000000000{n:02}" for n in range(12)]

    assert short_ids(["aaaaaaaa-1111", "bbbbbbbb-2222"]) == ["aaaaaaaa", "bbbbbbbb"]
    assert len(set(short_ids(alike))) == 12
    assert short_ids(["aaaaaaaa-1111", "aaaaaaaa-1111"]) == ["aaaaaaaa"] * 2
    assert short_ids([]) == []


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"), ("a\r\nb\tc", "a  b c"), ("gpj.\u202eexe", "gpj.exe"),
     ("\x00\x9b", "\ufffd\ufffd"), ("café 👩‍🚀", "café 👩‍🚀"), ("\u2028", " ")],
)  # fmt: skip
def test_what_could_move_the_cursor_is_taken_out(hostile, harmless):
    assert plain(hostile) == harmless


def test_a_document_is_json_to_every_reader(capsys):
    write_json({"name": "caf\udce9", "deep": [{"ok": None}]})

    assert json.loads(capsys.readouterr().out) == {
        "name": "caf\N{REPLACEMENT CHARACTER}",
        "deep": [{"ok": None}],
    }
