"""Which files `magpie add` sends.

A file that is named is always sent, whatever it is: the answer says what is wrong with it. From a
folder, with all folders in it, come the files that look like pictures: by their name, so that a damaged
picture is reported instead of passed over, or by their first bytes, so that a picture with an odd
name is not. Hidden files and folders are left out, symbolic links are followed, and no folder or file
is visited twice.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PICTURE_NAMES = {
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg",
    ".mpo", ".png", ".tif", ".tiff", ".webp",
}  # fmt: skip

FTYP_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


@dataclass(frozen=True)
class Trouble:
    """A path of which nothing can be sent: why, as a code and a sentence."""

    path: Path
    code: str
    message: str


@dataclass
class Found:
    """What there is to send.

    Attributes:
        files: in the order in which they were named, those of a folder sorted.
        skipped: how many visible files of folders were left out, not being pictures.
    """

    files: list[Path] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    skipped: int = 0


def find(paths: list[Path]) -> Found:
    """Find what to send under the paths that a user named."""
    found = Found()
    taken: set[str] = set()
    for path in paths:
        try:
            if path.is_dir():
                pictures = list(_pictures(path, found))
                if not pictures:
                    found.troubles.append(Trouble(path, "no_pictures", "There is no picture in this folder."))
            else:
                path.stat()
                pictures = [path]
        except OSError as error:
            found.troubles.append(trouble(path, error))
            continue
        for picture in pictures:
            real = os.path.realpath(picture)
            if real not in taken:
                taken.add(real)
                found.files.append(picture)
    return found


def _pictures(folder: Path, found: Found) -> Iterator[Path]:
    """Yield the pictures under a folder, sorted, noting what is skipped or cannot be read."""
    visited: set[tuple[int, int]] = set()
    ahead = [folder]
    while ahead:
        path = ahead.pop()
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                # Device and inode tell folders apart, so that a link to a folder above ends.
                if (status.st_dev, status.st_ino) not in visited:
                    visited.add((status.st_dev, status.st_ino))
                    ahead += sorted(
                        (inner for inner in path.iterdir() if not inner.name.startswith(".")), reverse=True
                    )
            elif stat.S_ISREG(status.st_mode) and looks_like_a_picture(path):
                yield path
            else:
                found.skipped += 1
        except OSError as error:
            found.troubles.append(trouble(path, error))


def looks_like_a_picture(path: Path) -> bool:
    """Whether a file found in a folder is to be sent.

    Raises:
        OSError: its first bytes cannot be read.
    """
    if path.suffix.lower() in PICTURE_NAMES:
        return True
    with path.open("rb") as file:
        return begins_like_a_picture(file.read(16))


def begins_like_a_picture(head: bytes) -> bool:
    """Whether these first 16 bytes are those of a picture that Magpie takes.

    TIFF's are not asked for here: the raw files of cameras begin with the same.
    """
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
        or (head[4:8] == b"ftyp" and head[8:12] in FTYP_BRANDS)
    )


def trouble(path: Path, error: OSError) -> Trouble:
    """Say why a path cannot be read."""
    if isinstance(error, FileNotFoundError):
        return Trouble(path, "missing", "There is no such file or folder.")
    if isinstance(error, PermissionError):
        return Trouble(path, "unreadable", "You may not read it.")
    return Trouble(path, "unreadable", f"It cannot be read: {error.strerror or type(error).__name__}.")


def send_name(path: Path) -> str:
    """Return a file's name as the API takes it: bytes that are no text become U+FFFD."""
    return os.fsencode(path.name).decode("utf-8", "replace")
