"""One spelling for what is written in several: as the function `folded` of the database does it."""

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+")
_SPELT = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "TH"}
    | dict(zip("øØłŁđĐðÐıħĦŧŦ", "oOlLdDdDihHtT", strict=True))
)
"""Letters that have another spelling, and no accent that could be taken off."""


def folded(text: str) -> str:
    """Return a text in lower case and without accents: `Łódź` and `Lodz` become the same."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.translate(_SPELT).lower())
    # Composed again, because Korean and Japanese take apart what is no accent.
    return unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", apart))


def words_of(text: str) -> list[str]:
    """Return the words of a text, folded."""
    return _WORD.findall(folded(text))


@lru_cache(maxsize=4096)
def letter(one: str) -> str:
    """Return a letter, folded; of what becomes two only the first, so that nothing behind it moves."""
    return (folded(one) or one)[0]
