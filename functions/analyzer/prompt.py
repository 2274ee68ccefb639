"""What a model is asked. The words are in `prompt.md`; their hash names this version of the question."""

import hashlib
import json
from functools import cache
from pathlib import Path

from functions.analyzer import analysis

REQUEST = "Describe this picture."
"""Stands after the picture. Nothing that a user chose is ever part of a request: no name, no other item."""


@cache
def system() -> str:
    """Return the instructions."""
    return Path(__file__).with_name("prompt.md").read_text(encoding="utf-8")


def _shape() -> str:
    return json.dumps(analysis.schema(), sort_keys=True, separators=(",", ":"))


@cache
def most_tokens() -> int:
    """Return a bound on the tokens of the words that are sent: a token is at least one byte of UTF-8."""
    return sum(len(text.encode()) for text in (system(), REQUEST, _shape()))


@cache
def prompt_hash() -> str:
    """Return the SHA-256 (hex) over everything that is asked: instructions, request, shape of the answer."""
    return hashlib.sha256("\n".join([system(), REQUEST, _shape()]).encode()).hexdigest()
