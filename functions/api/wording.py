"""Words that people typed, made fit to store and to show."""

import unicodedata

from shared.text import clean

_ZERO_WIDTH_JOINERS = "\u200c\u200d"
"""Letters of Persian and Hindi, and what holds an emoji of several together."""


def one_line(text: str) -> str:
    """Return a text on one line, in the composed form (NFC), with single spaces.

    Without control characters, line separators, marks that turn the direction of writing (`exe.gpj`
    shown as `jpg.exe`) and other invisible characters.
    """
    shown = "".join(letter for letter in unicodedata.normalize("NFC", clean(text)) if _is_shown(letter))
    return " ".join(shown.split())


def _is_shown(letter: str) -> bool:
    if letter in _ZERO_WIDTH_JOINERS:
        return True
    # Cc control, Cf format, Cs surrogate, Cn unassigned, Zl and Zp line and paragraph separator
    return letter.isspace() or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")
