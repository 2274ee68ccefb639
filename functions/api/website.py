"""Decide what the page is made of, and what a browser may do with it.

The files are those of `web/`, as they are. They are served under a folder named for the content of all
of them, so that a browser keeps them for ever and never mixes those of two releases.
"""

import hashlib
import importlib.resources
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

INDEX = "index.html"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Vary": "Accept-Encoding",
}
"""Of every file. The addresses of pictures are secrets: no request may tell where it came from."""

FOR_EVER = "public, max-age=31536000, immutable"
CHECK_FIRST = "no-cache"


@dataclass(frozen=True)
class Website:
    """The files of one release, by name.

    Attributes:
        release: names their content, in 16 hexadecimal digits.
    """

    release: str
    files: Mapping[str, str]

    @property
    def index(self) -> str:
        """The page itself, which names every file of its release, and has them fetched all at once."""
        modules = sorted(name for name in self.files if name.endswith(".js"))
        preloads = "\n  ".join(
            f'<link rel="modulepreload" href="web/{self.release}/{name}">' for name in modules
        )
        return self.files[INDEX].replace("PRELOADS", preloads).replace("RELEASE", self.release)


@cache
def load(package: str = "web") -> Website:
    """Read the files of a package: everything in it that a browser has a use for."""
    files = {
        file.name: file.read_text(encoding="utf-8")
        for file in importlib.resources.files(package).iterdir()
        if content_type(file.name) is not None
    }
    digest = hashlib.sha256()
    for name, text in sorted(files.items()):
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    return Website(digest.hexdigest()[:16], files)


def content_type(name: str) -> str | None:
    """Return the type of a file by its name, None where it is none that is served."""
    return CONTENT_TYPES.get("." + name.rpartition(".")[2]) if "." in name else None


def etag(*parts: str) -> str:
    """Return the entity tag of a content."""
    return f'"{hashlib.sha256("".join(parts).encode()).hexdigest()[:16]}"'


def matches(etag: str, header: str | None) -> bool:
    """Return whether a browser has this content already, as its `If-None-Match` says (RFC 9110, 13.1.2)."""
    given = {part.strip().removeprefix("W/") for part in (header or "").split(",")}
    return etag in given or "*" in given


def policy(pictures: Iterable[str], requests: Iterable[str]) -> str:
    """Return a Content-Security-Policy: this origin's own files, and nothing that somebody slipped in.

    Text cannot become a script in any way: no inline scripts, no `eval`, and no HTML made of strings
    (Trusted Types, without any policy that would make some trusted).

    Args:
        pictures: addresses whose origins pictures are shown from.
        requests: addresses whose origins may be asked.
    """
    sources = {
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", *origins(pictures)],
        "connect-src": ["'self'", *origins(requests)],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    return "; ".join(" ".join((name, *allowed)) for name, allowed in sources.items())


def origins(addresses: Iterable[str]) -> list[str]:
    """Return scheme, host and port of each address, once."""
    parts = (urlsplit(address) for address in addresses)
    return sorted({f"{part.scheme}://{part.netloc}" for part in parts if part.scheme and part.netloc})
