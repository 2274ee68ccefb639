"""Which files of a folder are sent."""

import os
import subprocess
from pathlib import Path

import pytest

from cli.pictures import begins_like_a_picture, find

PNG = b"\x89PNG\r\n\x1a\n0000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, body in {
        "b.png": PNG,
        "a.JPG": b"damaged",
        "z/c.heic": b"",
        "odd-name": PNG,
        "notes.txt": b"words",
        "raw.nef": b"II*\0",
        ".hidden.png": PNG,
        ".cache/d.png": PNG,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(body)
    return tmp_path


def names(found, folder):
    return [str(path.relative_to(folder)) for path in found.files]


def test_pictures_are_told_by_name_or_by_content_and_come_sorted(folder):
    found = find([folder])

    assert names(found, folder) == ["a.JPG", "b.png", "odd-name", "z/c.heic"]
    assert found.skipped == 2
    assert found.troubles == []


def test_a_named_file_is_taken_whatever_it_is(folder):
    assert names(find([folder / "notes.txt", folder / ".hidden.png"]), folder) == ["notes.txt", ".hidden.png"]


def test_what_is_named_twice_is_taken_once(folder):
    found = find([folder / "b.png", folder, folder / "z" / ".." / "b.png"])

    assert names(found, folder) == ["b.png", "a.JPG", "odd-name", "z/c.heic"]
    assert found.troubles == []


def test_a_link_to_a_folder_above_ends(folder):
    (folder / "z" / "up").symlink_to(folder)

    assert names(find([folder]), folder) == ["a.JPG", "b.png", "odd-name", "z/c.heic"]


def test_links_to_files_are_followed_and_broken_ones_told(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "e.png"
    elsewhere.write_bytes(PNG)
    (folder / "link.png").symlink_to(elsewhere)
    (folder / "broken.png").symlink_to(folder / "nothing")

    found = find([folder])

    assert folder / "link.png" in found.files
    assert [(trouble.path.name, trouble.code) for trouble in found.troubles] == [("broken.png", "missing")]


def test_a_pipe_in_a_folder_is_passed_over(folder):
    os.mkfifo(folder / "pipe.png")

    assert folder / "pipe.png" not in find([folder]).files


def test_folders_within_folders_may_be_deeper_than_python_recurses(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1500):
            os.mkdir("d", dir_fd=descriptor)
            inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
    finally:
        os.close(descriptor)

    found = find([tmp_path])
    # Python 3.11 cannot remove it: its rmtree calls itself for each level.
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)

    assert found.files == []
    assert [trouble.code for trouble in found.troubles] == ["no_pictures"]


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xd8\xff\xe0",
        PNG,
        b"GIF89a\1\0",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"BM\0\0\1\0\0\0\0\0\x36\0",
        b"\0\0\0\x18ftypheic",
        b"\0\0\0\x20ftypavif",
    ],
)
def test_each_format_is_known_by_its_first_bytes(head):
    assert begins_like_a_picture(head)


@pytest.mark.parametrize(
    "head", [b"", b"BM is a word", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypmp42", b"%PDF-1.7"]
)
def test_nothing_else_passes_for_a_picture(head):
    assert not begins_like_a_picture(head)
