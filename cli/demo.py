"""`magpie demo`: real photographs through the whole of Magpie, and what came of them."""

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli.client import Api
    from cli.output import Output
    from cli.sending import Sent

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "microaneurysms.png",
    "moon.png", "motorcycle_left.png", "motorcycle_right.png", "page.png", "retina.jpg", "rocket.jpg",
    "text.png",
)  # fmt: skip
"""What is a photograph among the pictures that come with scikit-image; the rest are drawings and charts."""

STAGES = (("image_processor", "Image"), ("analyzer", "Analysis"), ("embedder", "Embedding"))

OFFLINE_SEARCHES = (
    "warm colours, orange and red",
    "dark and cool, in blue",
    "black and white with rich detail",
)
"""What offline descriptions can answer: they measure light, colours and shape."""
OWN_SEARCHES = ("people", "outdoors in daylight", "something with text on it")
"""For a folder of which nothing is known, described by a real model."""
NATURAL_SEARCHES = (
    "someone dressed for space",
    "a hot drink on a wooden table",
    "the surface of another world",
)
"""For the photographs that come along, described by a real model."""
HITS = 3


@dataclass(frozen=True)
class Shown:
    """One picture as the demo shows it.

    Attributes:
        item: as `GET /items/{id}` tells it; empty when nothing was sent.
        thumbnail: the file that was written, and None where there is no thumbnail.
        stages: milliseconds by stage.
        total: milliseconds from the upload's permission to the last event, queues included.
    """

    sent: "Sent"
    item: dict[str, Any]
    thumbnail: Path | None
    stages: dict[str, float]
    total: float | None


@dataclass(frozen=True)
class Searched:
    """A query and what it found."""

    query: str
    hits: list[dict[str, Any]]


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="Your own pictures. Default: twenty photographs that come with scikit-image.",
            show_default=False,
        ),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(envvar="PHOTOS", help="The same as FOLDER.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many pictures of a folder at most.")] = 100,
    output: Annotated[
        Path | None,
        typer.Option(help="Where thumbnails and contact sheet go. Default: demo-output.", show_default=False),
    ] = None,
    json: Json = False,
) -> int:
    """Send photographs through the whole of Magpie on this machine, and show what came of them.

    It starts a Magpie of its own on free ports and stops it at the end; one that is running is left
    alone. Exits 1 unless every picture ended ready.
    """
    from cli.output import Output
    from cli.target import ROOT

    out = Output(json)
    started = time.monotonic()
    files = _pictures(out, folder or photos, limit)
    target = _output_folder(output or ROOT / "demo-output")
    data = _private_folder(ROOT / ".magpie" / "demo")
    try:
        shown, searches = _run(out, files, data, target, own=bool(folder or photos))
    except BaseException as error:
        _leave(out, data, keep=isinstance(error, Exception))
        raise
    all_ready = all(each.sent.status == "ready" for each in shown)
    _leave(out, data, keep=not all_ready)
    seconds = time.monotonic() - started
    sheet = _contact_sheet(target, shown, searches, seconds)
    if json:
        out.document(_document(shown, searches, seconds, target, sheet))
    else:
        _show(out, shown, searches, seconds, sheet)
    return 0 if all_ready else 1


def _pictures(out: "Output", folder: Path | None, limit: int) -> list[Path]:
    """Return the files to send, saying which ones are left out.

    Raises:
        CommandError: there is none.
    """
    from cli.pictures import find

    if folder is None:
        return photographs()
    found = find([folder.expanduser()])
    for problem in found.troubles:
        if not found.files:
            raise CommandError(problem.code, f"{problem.path}: {problem.message}")
        out.note(f"{problem.path}: {problem.message}", "yellow")
    if len(found.files) > limit:
        out.note(f"The first {limit} of {len(found.files)} pictures: --limit takes more.")
    return found.files[:limit]


def photographs() -> list[Path]:
    """Return the photographs that come with scikit-image, without importing it.

    Raises:
        CommandError: it is not installed as it should be.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        package = distribution("scikit-image")
        files = [Path(str(package.locate_file(f"skimage/data/{name}"))) for name in PHOTOGRAPHS]
    except PackageNotFoundError:
        files = []
    if not files or not all(file.is_file() for file in files):
        raise CommandError(
            "no_photographs",
            "The photographs of scikit-image are not installed: run ./bootstrap local, or name a folder.",
        )
    return files


def _output_folder(folder: Path) -> Path:
    """Make the folder for what the demo writes, empty but never at the cost of somebody else's files.

    Raises:
        CommandError: there is something in it that no demo wrote.
    """
    from cli.contact_sheet import MARK

    folder = folder.expanduser().absolute()
    if folder.is_dir() and any(folder.iterdir()):
        sheet = folder / "index.html"
        if not sheet.is_file() or MARK not in sheet.read_text(encoding="utf-8", errors="replace"):
            raise CommandError(
                "not_empty", f"{folder} holds files that no demo wrote: choose another one with --output."
            )
        shutil.rmtree(folder / "thumbnails", ignore_errors=True)
    (folder / "thumbnails").mkdir(parents=True, exist_ok=True)
    # Written first, so that an interrupted demo's folder is known for one.
    (folder / "index.html").write_text(MARK, encoding="utf-8")
    return folder


def _private_folder(parent: Path) -> Path:
    """Make a data folder for this demo alone.

    Folders are named for the process, so that what earlier demos left can be told and removed.
    """
    from cli.target import alive

    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.iterdir():
        if not (old.name.isdigit() and old.name != str(os.getpid()) and alive(int(old.name))):
            shutil.rmtree(old, ignore_errors=True)
    folder = parent / str(os.getpid())
    folder.mkdir()
    return folder


def _leave(out: "Output", data: Path, *, keep: bool) -> None:
    """Remove a demo's data, or say where to look for what went wrong."""
    if keep:
        out.note(f"What happened is in {data / 'logs'}, until the next demo.", "yellow")
    else:
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def _ended_by_signals() -> Iterator[Callable[[], None]]:
    """Let SIGTERM and a closed terminal end the block as Ctrl-C does, so that what it started is stopped.

    Once the first has come no second one is heard: stopping takes seconds and must not be cut short.

    Yields a function to be called now and then, which ends the block too when a signal has come: Python
    drops an exception that a signal raises while, for example, a module's lock is being cleared away.
    """
    asked: list[int] = []
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def look() -> None:
        if asked:
            raise KeyboardInterrupt if asked[0] == signal.SIGINT else SystemExit(128 + asked[0])

    def end(number: int, frame: object) -> None:
        for each in ending:
            signal.signal(each, signal.SIG_IGN)
        asked.append(number)
        look()

    def quieten(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt | SystemExit):
            hook(dropped)

    before = {each: signal.signal(each, end) for each in ending}
    hook, sys.unraisablehook = sys.unraisablehook, quieten
    try:
        yield look
    finally:
        sys.unraisablehook = hook
        for each, handler in before.items():
            signal.signal(each, handler)


def _run(
    out: "Output", files: list[Path], data: Path, target: Path, own: bool
) -> tuple[list[Shown], list[Searched]]:
    from cli.client import Api
    from cli.sending import Sending
    from cli.session import SignedIn
    from cli.target import Target
    from cli.up import OWN_MACHINE, stack_troubles

    with _ended_by_signals() as look, stack_troubles():
        from local.stack import Stack

        with Stack(data, 0, 0, parameters=OWN_MACHINE, say=out.step) as stack:
            out.note(f"Magpie is up after {stack.start_seconds:.1f} s; sending {len(files)} pictures.")
            described = {
                "api_url": stack.api_url,
                "aws_url": stack.aws_url,
                "user": stack.user,
                "sign_in": stack.sign_in,
            }
            here = Target(stack.api_url, described)
            # Tokens of a Magpie that lives for seconds are kept in memory only.
            with Api(here, SignedIn(here, files=None)) as api:
                sent = Sending(api, files, patience=120, look=look).run(out)
                with ThreadPoolExecutor(4) as pool:
                    shown = list(pool.map(partial(_fetch, api, target), range(1, len(sent) + 1), sent))
                searches = [Searched(query, api.search(query, HITS)["hits"]) for query in queries(sent, own)]
            look()
            out.note("Stopping.")
    return shown, searches


def queries(sent: "Sequence[Sent]", own: bool) -> tuple[str, ...]:
    """Return three searches that the descriptions at hand can answer.

    Args:
        own: the pictures are the user's, so nothing is known of them.
    """
    if any(each.item.get("provider") == "offline" for each in sent):
        return OFFLINE_SEARCHES
    return OWN_SEARCHES if own else NATURAL_SEARCHES


def _fetch(api: "Api", target: Path, number: int, sent: "Sent") -> Shown:
    """Ask for all that is known of a picture, and write its thumbnail into the output folder."""
    if sent.item_id is None:
        return Shown(sent, {}, None, {}, None)
    item = api.item(sent.item_id)
    url = (item.get("views") or {}).get("thumbnail")
    thumbnail = None
    if url:
        thumbnail = target / "thumbnails" / f"{number:02}-{_safe_name(sent.path.stem)}.webp"
        thumbnail.write_bytes(api.download(url))
    return Shown(sent, item, thumbnail, *times(item))


def _safe_name(stem: str) -> str:
    """Return a file's name reduced to what every file system and browser takes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:60] or "picture"


def times(item: dict[str, Any]) -> tuple[dict[str, float], float | None]:
    """Return milliseconds by stage, and from the first line of the timeline to its last."""
    from cli.output import moment

    stages: dict[str, float] = {}
    moments = []
    for line in item.get("timeline") or []:
        if line.get("duration_ms") is not None:
            stages[line["stage"]] = stages.get(line["stage"], 0) + line["duration_ms"]
        then = moment(line.get("occurred_at"))
        if then is not None:
            moments.append(then)
    total = round((max(moments) - min(moments)).total_seconds() * 1000, 1) if len(moments) > 1 else None
    return stages, total


def _contact_sheet(target: Path, shown: list[Shown], searches: list[Searched], seconds: float) -> Path:
    from cli.contact_sheet import Card, Row, write

    cards = {
        each.sent.item_id or str(each.sent.path): Card(
            name=each.sent.path.name,
            headline=_said(each),
            category=each.item.get("category") or each.sent.status,
            ready=each.sent.status == "ready",
            thumbnail=each.thumbnail,
            provider=each.item.get("provider") or "",
            model=each.item.get("model") or "",
        )
        for each in shown
    }
    rows = [
        Row(search.query, [cards[hit["item_id"]] for hit in search.hits if hit["item_id"] in cards])
        for search in searches
    ]
    return write(target / "index.html", list(cards.values()), rows, seconds)


def _document(
    shown: list[Shown], searches: list[Searched], seconds: float, target: Path, sheet: Path
) -> dict[str, Any]:
    from cli.sending import counts

    ended = counts([each.sent for each in shown])
    return {
        "items": len(shown),
        **ended,
        "seconds": round(seconds, 2),
        "searches": [
            {"query": search.query, "hits": [_lasting(hit, shown) for hit in search.hits]}
            for search in searches
        ],
        "pictures": [
            {
                **each.sent.record(),
                "thumbnail": each.thumbnail
                and {
                    "path": str(each.thumbnail),
                    "width": each.item["thumbnail"]["width"],
                    "height": each.item["thumbnail"]["height"],
                },
                "stages_ms": each.stages,
                "total_ms": each.total,
            }
            for each in shown
        ],
        "output": str(target),
        "contact_sheet": str(sheet),
    }


def _lasting(hit: dict[str, Any], shown: list[Shown]) -> dict[str, Any]:
    """Return a hit with the file of its thumbnail instead of a URL that ended with the demo's Magpie."""
    files = {each.sent.item_id: each.thumbnail for each in shown}
    thumbnail = files.get(hit["item_id"])
    kept = {name: value for name, value in hit.items() if name != "thumbnail_url"}
    return kept | {"thumbnail": str(thumbnail) if thumbnail else None}


def _pixels(part: dict[str, Any] | None) -> str:
    return f"{part['width']} × {part['height']}" if part and part.get("width") else "–"


def _show(out: "Output", shown: list[Shown], searches: list[Searched], seconds: float, sheet: Path) -> None:
    from rich.text import Text

    from cli.browse import show_hits
    from cli.output import styled
    from cli.sending import counts

    out.show(*(_wide_table(shown) if out.console.width >= 110 else _narrow_lines(shown)))
    for search in searches:
        out.show(Text(), styled(f"Search: {search.query}", "bold"))
        if search.hits:
            show_hits(out, search.hits, with_ids=False)
        else:
            out.show(styled("nothing found", "dim"))
    models = {f"{each.item['provider']} {each.item['model']}" for each in shown if each.item.get("provider")}
    ended = ", ".join(f"{n} {status}" for status, n in counts([each.sent for each in shown]).items() if n)
    out.show(Text())
    out.line(
        f"{len(shown)} {'picture' if len(shown) == 1 else 'pictures'} in {seconds:.1f} s: {ended}. "
        f"Described by {', '.join(sorted(models)) or 'nobody'}.",
        "bold",
    )
    if any(each.item.get("provider") == "offline" for each in shown):
        out.line(
            "Offline descriptions only measure. Set ANTHROPIC_API_KEY and VOYAGE_API_KEY for models that see."
        )
    out.line(f"Thumbnails: {sheet.parent / 'thumbnails'}")
    out.line(f"To look at: {sheet.as_uri()}")


def _wide_table(shown: list[Shown]) -> "list[RenderableType]":
    """Return what each picture became, one line each."""
    from cli.output import duration, status_text, styled, table

    labels = [label for _, label in STAGES]
    listing = table(
        *("Picture", "Status", "Thumbnail", "Category", "Headline", *labels, "Total"),
        right=(*labels, "Total"),
        whole=("Picture", "Status", "Thumbnail"),
    )
    for each in shown:
        listing.add_row(
            styled(each.sent.path.name),
            status_text(each.sent.status),
            styled(_pixels(each.item.get("thumbnail"))),
            styled(each.item.get("category") or ""),
            styled(_said(each)),
            *(styled(duration(each.stages.get(stage))) for stage, _ in STAGES),
            styled(duration(each.total)),
        )
    return [listing]


def _narrow_lines(shown: list[Shown]) -> "list[RenderableType]":
    """Return the same for a narrow terminal: figures on one line, words on the next."""
    from rich.padding import Padding

    from cli.output import duration, status_text, styled

    name_width = min(28, max(len(each.sent.path.name) for each in shown))
    labels = "".join(f"{label:>11}" for label in [*(label for _, label in STAGES), "Total"])
    lines: list[RenderableType] = [styled(f"{'Picture':{name_width}}  {'Thumbnail':9}{labels}", "bold")]
    for each in shown:
        times = [each.stages.get(stage) for stage, _ in STAGES] + [each.total]
        figures = "".join(f"{duration(time):>11}" for time in times)
        thumbnail = _pixels(each.item.get("thumbnail"))
        lines.append(styled(f"{each.sent.path.name:{name_width}}  {thumbnail:9}{figures}"))
        words = status_text(each.sent.status)
        if each.sent.status == "ready":
            words = styled(each.item.get("category") or "")
        lines.append(Padding(words.append(": ").append_text(styled(_said(each), "dim")), (0, 0, 0, 4)))
    return lines


def _said(shown: Shown) -> str:
    return str(shown.item.get("headline") or shown.sent.message or "")
