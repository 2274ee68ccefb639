"""Find the image that a row names, below one folder and nowhere else, and read what it is."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cli.errors import CommandError
from cli.importer.scratch import Scratch, image_names

CHUNK = 1 << 20


class ImageError(Exception):
    """An image cannot be sent.

    Args:
        code: of a closed list.
    """

    CODES = frozenset(
        {
            "no_image",
            "missing_image",
            "path_escapes",
            "empty_image",
            "unreadable_image",
            "size_differs",
            "sha256_differs",
            "not_in_manifest",
        }
    )

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True)
class Image:
    """A file that can be sent: its size in bytes, and its SHA-256 in hex."""

    path: Path
    size: int
    sha256: str


def find(folder: Path, row: dict[str, Any]) -> Path:
    """Return the file of a row's image.

    Args:
        folder: resolved, without links in it.

    Raises:
        ImageError: the row names none, it is not there, or it is not below the folder.
    """
    wanted = image_names(row)
    if not wanted:
        raise ImageError("no_image", "The row names no image.")
    for name in wanted:
        # Backslashes are Windows' way of writing the same path.
        path = PurePosixPath(name.replace("\\", "/"))
        drive = path.parts[:1] and len(path.parts[0]) == 2 and path.parts[0].endswith(":")
        if path.is_absolute() or ".." in path.parts or drive:
            raise ImageError("path_escapes", "The row's path leads out of the folder of images.")
        try:
            found = (folder / path).resolve(strict=True)
        except FileNotFoundError:
            continue
        except (OSError, RuntimeError, ValueError) as error:
            raise ImageError("unreadable_image", f"The image cannot be reached: {_why(error)}.") from error
        if not found.is_relative_to(folder):
            raise ImageError("path_escapes", "A link leads out of the folder of images.")
        return found
    raise ImageError("missing_image", f"There is no {wanted[0]} in the folder of images.")


def read(path: Path) -> Image:
    """Return what a file is, read piece by piece.

    Raises:
        ImageError: it cannot be read, or there is nothing in it.
    """
    digest, size = hashlib.sha256(), 0
    try:
        # Without waiting, should it be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ImageError("unreadable_image", "The image is not a file.")
            while piece := file.read(CHUNK):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise ImageError("unreadable_image", f"The image cannot be read: {_why(error)}.") from error
    if not size:
        raise ImageError("empty_image", "The image's file is empty.")
    return Image(path, size, digest.hexdigest())


def check(scratch: Scratch, row: dict[str, Any], image: Image) -> None:
    """Compare an image with the manifest.

    Raises:
        ImageError: it is not in it, or is another one there.
    """
    wanted = image_names(row)
    expected = scratch.expected([*wanted, *(PurePosixPath(name).name for name in wanted)])
    if expected is None:
        raise ImageError("not_in_manifest", "The manifest does not name this image.")
    size, sha256 = expected
    if size is not None and size != image.size:
        raise ImageError("size_differs", f"The file has {image.size} bytes; the manifest says {size}.")
    if sha256 is not None and sha256 != image.sha256:
        raise ImageError("sha256_differs", "The file's SHA-256 is not the one in the manifest.")


def read_manifest(path: Path) -> Iterator[tuple[str, int | None, str | None]]:
    """Yield name, size and SHA-256 of each image of a manifest.

    Raises:
        CommandError: it is not a manifest.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        for entry in document["images"]:
            name, size, sha256 = entry["filename"], entry.get("size"), entry.get("sha256")
            if (
                not isinstance(name, str)
                or not isinstance(size, int | None)
                or not isinstance(sha256, str | None)
            ):
                raise TypeError
            yield name, size, sha256.lower() if sha256 else None
    except OSError as error:
        raise CommandError("no_manifest", f"{path} cannot be read: {_why(error)}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CommandError(
            "bad_manifest", f'{path.name} is no manifest: {{"images": [{{"filename", "size", "sha256"}}]}}.'
        ) from error


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
