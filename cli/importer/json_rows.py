"""Read the rows of a JSON export one by one, however long the file is.

Python's own parser reads each row, at its speed and with its exactness; only what is around the rows is read
here. In memory is one row and the piece of the file that it stands in.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from cli.errors import CommandError

CHUNK = 1 << 20
_SPACE = " \t\r\n"


class BrokenFileError(CommandError):
    """The file is not JSON from some place on, or has another shape."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__("bad_source", f"{path.name}: {what}.")


def rows(path: Path, wanted: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield the table and the value of each row below `tables`, in the order of the file.

    Raises:
        BrokenFileError: it is no export.
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = _Reader(file, path)
        found = False
        for name in reader.names():
            if name != "tables":
                reader.value()
                continue
            found = True
            for table in reader.names():
                if table in wanted:
                    for row in reader.entries():
                        yield table, row
                else:
                    reader.value()
        reader.end()
        if not found:
            raise reader.broken("it has no tables: an export begins with exported_at and tables")


class _Reader:
    """A window that moves over a text."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file = file
        self._path = path
        self._text = ""
        self._place = self._before = 0
        self._ended = False
        self._decoder = json.JSONDecoder(parse_constant=_refuse)

    def broken(self, what: str) -> BrokenFileError:
        return BrokenFileError(self._path, what)

    def names(self) -> Iterator[str]:
        """Yield the names of an object; whoever gets one reads its value before the next."""
        self._expect("{")
        if self._peek() == "}":
            self._place += 1
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise self._wrong()
            self._expect(":")
            yield name
            if self._next(",}") == "}":
                return

    def entries(self) -> Iterator[Any]:
        """Yield the entries of a list; null is an empty one."""
        if self._peek() != "[":
            if self.value() is not None:
                raise self._wrong()
            return
        self._expect("[")
        if self._peek() == "]":
            self._place += 1
            return
        while True:
            yield self.value()
            if self._next(",]") == "]":
                return

    def value(self) -> Any:
        """Return the next value, however long it is."""
        self._peek()
        wanted = CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except RecursionError:
                raise self.broken("a value is nested too deep") from None
            except ValueError:
                if self._ended:
                    raise self._wrong() from None
            else:
                # A number that ends with the window may go on behind it.
                if end < len(self._text) or self._ended:
                    self._place = end
                    return value
            self._more(wanted)
            wanted *= 2

    def end(self) -> None:
        if self._peek():
            raise self._wrong()

    def _expect(self, character: str) -> None:
        self._next(character)

    def _next(self, allowed: str) -> str:
        found = self._peek()
        if not found or found not in allowed:
            raise self._wrong()
        self._place += 1
        return found

    def _peek(self) -> str:
        """Return the next character that is no space, '' at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in _SPACE:
                self._place += 1
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._more(CHUNK)

    def _more(self, characters: int) -> None:
        piece = self._file.read(characters)
        self._ended = not piece
        self._before += self._place
        self._text = self._text[self._place :] + piece
        self._place = 0

    def _wrong(self) -> BrokenFileError:
        return self.broken(f"it is not JSON of an export at character {self._before + self._place + 1:,}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
