"""What the demo decides before and after the pictures have gone through."""

import os
import signal
import subprocess
import sys

import pytest

from cli import demo
from cli.errors import CommandError
from cli.output import Output
from cli.sending import Sent


def test_twenty_photographs_come_along():
    files = demo.photographs()

    assert len(files) == len(set(files)) == 20
    assert all(file.stat().st_size > 1000 for file in files)


def test_the_photographs_are_found_without_importing_their_package():
    program = "import sys; from cli.demo import photographs; photographs(); print('skimage' in sys.modules)"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout == "False\n"


@pytest.mark.parametrize(
    ("provider", "own", "searches"),
    [("offline", True, demo.OFFLINE_SEARCHES), ("offline", False, demo.OFFLINE_SEARCHES),
     ("anthropic", True, demo.OWN_SEARCHES), ("bedrock", False, demo.NATURAL_SEARCHES)],
)  # fmt: skip
def test_searches_are_such_that_the_descriptions_can_answer_them(tmp_path, provider, own, searches):
    sent = Sent(tmp_path / "a.png", item={"provider": provider})

    assert demo.queries([sent], own) == searches
    assert len(searches) == 3


def test_times_are_told_by_stage_and_from_first_to_last():
    item = {
        "timeline": [
            {"stage": "api", "event": "created", "occurred_at": "2026-11-20T10:00:00Z", "duration_ms": None},
            {
                "stage": "analyzer",
                "event": "analyzed",
                "occurred_at": "2026-11-20T10:00:01Z",
                "duration_ms": 100.5,
            },
            {
                "stage": "analyzer",
                "event": "analyzed",
                "occurred_at": "2026-11-20T10:00:02.5Z",
                "duration_ms": 50,
            },
        ]
    }

    assert demo.times(item) == ({"analyzer": 150.5}, 2500)
    assert demo.times({}) == ({}, None)


def test_files_that_no_demo_wrote_are_never_removed(run, tmp_path):
    (tmp_path / "thumbnails").mkdir()
    mine = tmp_path / "thumbnails" / "mine.webp"
    mine.write_bytes(b"mine")
    (tmp_path / "index.html").write_text("<title>my page</title>")

    ran = run("demo", "--output", str(tmp_path), "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "not_empty"
    assert mine.read_bytes() == b"mine"


def test_what_an_earlier_demo_wrote_is_replaced(tmp_path):
    folder = demo._output_folder(tmp_path / "out")
    (folder / "thumbnails" / "old.webp").write_bytes(b"old")

    assert demo._output_folder(tmp_path / "out") == folder
    assert list((folder / "thumbnails").iterdir()) == []


def test_what_killed_demos_left_is_removed_and_running_ones_are_left_alone(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (str(ended.pid), str(os.getppid()), "something"):
        (tmp_path / name).mkdir()

    folder = demo._private_folder(tmp_path)

    assert {each.name for each in tmp_path.iterdir()} == {folder.name, str(os.getppid())}


@pytest.mark.parametrize(
    ("stem", "name"), [("coffee", "coffee"), ("a b/ü..", "a-b"), ("...", "picture"), ("x" * 300, "x" * 60)]
)
def test_thumbnails_have_names_that_every_system_takes(stem, name):
    assert demo._safe_name(stem) == name


def test_a_folder_without_pictures_is_told_before_anything_starts(run, tmp_path):
    (tmp_path / "empty").mkdir()

    for folder, code in ((tmp_path / "empty", "no_pictures"), (tmp_path / "none", "missing")):
        ran = run("demo", str(folder), "--output", str(tmp_path / "out"), "--json")
        assert ran.code == 1
        assert ran.json["error"]["code"] == code


def test_a_folder_gives_no_more_than_the_limit_and_says_so(capsys, picture):
    for number in range(5):
        picture(f"{number}.png")
    (picture("0.png").parent / "gone.png").symlink_to("nowhere")

    files = demo._pictures(Output(as_json=True), picture("0.png").parent, 3)

    assert [file.name for file in files] == ["0.png", "1.png", "2.png"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "The first 3 of 5 pictures" in said.err
    assert "gone.png" in said.err


def test_a_broken_installation_is_one_sentence(monkeypatch):
    monkeypatch.setattr(demo, "PHOTOGRAPHS", ("not-there.png",))

    with pytest.raises(CommandError, match="bootstrap"):
        demo.photographs()


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_whose_exception_was_lost_still_ends_the_demo(capsys, number, ends):
    class Loses:
        """Exceptions in here are dropped, as they are in parts of Python's own import system."""

        def __del__(self) -> None:
            signal.raise_signal(number)

    def interrupted() -> None:
        with demo._ended_by_signals() as look:
            look()
            Loses()
            signal.raise_signal(number)  # the second one is not heard
            look()

    with pytest.raises(ends):
        interrupted()

    assert capsys.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
