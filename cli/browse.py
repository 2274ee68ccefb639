"""`magpie list`, `show` and `search`: what is there, all about one item, and finding."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import UsageError
from cli.options import ApiUrl, Data, Json

if TYPE_CHECKING:
    from cli.client import Api
    from cli.output import Output

TOLD_ELSEWHERE = {"summary", "headline", "category", "version", "provider", "model", "created_at"}
"""What `show` says of an analysis before its details."""


class Status(StrEnum):
    """Statuses of an item."""

    pending = "pending"
    processed = "processed"
    analyzed = "analyzed"
    ready = "ready"
    rejected = "rejected"
    failed = "failed"
    over_quota = "over_quota"


def list_items(
    status: Annotated[
        Status | None, typer.Option(help="Only items of this status.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """List items, the newest first."""
    from cli.client import PAGE
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    wanted = status.value if status else None
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    with connect(data, api_url) as api:
        while True:
            room = PAGE if everything else min(PAGE, limit - len(items))
            page = api.items(limit=room, cursor=cursor, status=wanted)
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor or (not everything and len(items) >= limit):
                break
    if json:
        out.document({"items": items, "next_cursor": cursor})
        return 0
    if not items:
        out.note(
            f"No item is {wanted.replace('_', ' ')}."
            if wanted
            else "Nothing here yet: ./magpie add PATH sends pictures."
        )
        return 0
    _show_list(out, items)
    if cursor:
        out.note("There are more: --limit N or --all shows them.")
    return 0


def _show_list(out: "Output", items: list[dict[str, Any]]) -> None:
    from cli.output import age, short_ids, size, status_text, styled, table

    now = datetime.now(UTC)
    # A narrow terminal gets fewer columns instead of broken ones.
    narrow = out.console.width < 100
    columns = ["Item", "Status", "Name", "Headline"]
    if not narrow:
        columns = ["Item", "Status", "Name", "Category", "Headline", "Size", "Age"]
    listing = table(*columns, right=("Size", "Age"), whole=("Item", "Status"))
    for item, short in zip(items, short_ids([str(item["item_id"]) for item in items]), strict=True):
        error = item.get("error") or {}
        cells = {
            "Item": styled(short),
            "Status": status_text(str(item.get("status"))),
            "Name": styled(item.get("filename") or ""),
            "Category": styled(item.get("category") or ""),
            "Headline": styled(item.get("headline") or error.get("message") or ""),
            "Size": styled(size(item.get("file_size"))),
            "Age": styled(age(item.get("created_at"), now)),
        }
        listing.add_row(*(cells[column] for column in columns))
    out.show(listing)


def show(
    item_id: Annotated[
        str, typer.Argument(metavar="ID", help="An item's id, or its first 6 characters or more.")
    ],
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Show all that is known of one item: facts, analysis, timeline, and where to see it."""
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    with connect(data, api_url) as api:
        item = api.item(resolve(api, item_id))
    if json:
        out.document(item)
    else:
        _show_item(out, item)
    return 0


def resolve(api: "Api", wanted: str) -> str:
    """Return the id that begins as given, among the newest items.

    Raises:
        UsageError, CommandError: as `ids.resolve`.
    """
    from cli import ids

    pages = ([str(item["item_id"]) for item in page] for page in api.pages())
    return ids.resolve([wanted], pages, "item")[0]


def _show_item(out: "Output", item: dict[str, Any]) -> None:
    from rich.text import Text

    from cli.output import duration, facts, moment, status_text, styled, table

    heading = styled(item.get("filename") or "(no name)", "bold")
    heading.append("  ")
    heading.append_text(status_text(str(item.get("status"))))
    out.show(heading)
    error = item.get("error") or {}
    if error:
        held = item.get("status") == "over_quota"
        said = f"{'Waiting for room' if held else error.get('code')}: {error.get('message')}"
        out.show(styled(said, "yellow" if held else "red"))
    out.show(Text(), facts(_facts(item)))

    analysis = item.get("analysis") or {}
    if analysis:
        who = " ".join(str(analysis[key]) for key in ("provider", "model") if analysis.get(key))
        version = f", version {analysis['version']}" if analysis.get("version") else ""
        out.show(Text(), styled(f"Analysis by {who}{version}", "bold"))
        out.show(facts(_analysis(analysis)))

    timeline = item.get("timeline") or []
    if timeline:
        listing = table(
            "Time (UTC)", "Stage", "Event", "Took", "Detail", right=("Took",), whole=("Time (UTC)",)
        )
        for line in timeline:
            then = moment(line.get("occurred_at"))
            detail = ", ".join(
                f"{key.replace('_', ' ')} {_flat(value)}"
                for key, value in (line.get("detail") or {}).items()
                if value is not None
            )
            listing.add_row(
                styled(then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if then else ""),
                styled(line.get("stage") or ""),
                styled(line.get("event") or ""),
                styled(duration(line.get("duration_ms"))),
                styled(detail),
            )
        out.show(Text(), styled("Timeline", "bold"), listing)

    views = {name: url for name, url in (item.get("views") or {}).items() if url}
    if views:
        out.show(Text(), styled("Views, for an hour", "bold"))
        for name, url in views.items():
            out.line(f"{name:9}  {url}")


def _facts(item: dict[str, Any]) -> list[tuple[str, object]]:
    from cli.output import size, styled

    def pixels(part: Any) -> str:
        return f"{part['width']} × {part['height']}" if isinstance(part, dict) and part.get("width") else ""

    colours = ", ".join(
        f"{each.get('hex')} {each.get('share', 0):.0%}" for each in item.get("dominant_colours") or []
    )
    return [
        ("item", item.get("item_id")),
        ("category", item.get("category")),
        ("headline", styled(item["headline"], "bold") if item.get("headline") else None),
        (
            "original",
            " ".join(
                filter(None, (str(item.get("format") or ""), pixels(item), size(item.get("file_size"))))
            ),
        ),
        ("web image", pixels(item.get("image"))),
        ("thumbnail", pixels(item.get("thumbnail"))),
        ("taken", item.get("captured_at")),
        ("camera", item.get("camera")),
        ("location", _flat(item.get("location")) if item.get("location") else None),
        ("colours", colours),
        ("same as", item.get("duplicate_of")),
        ("sha256", item.get("sha256")),
        ("likeness", item.get("perceptual_hash")),
        ("created", item.get("created_at")),
        ("updated", item.get("updated_at")),
    ]


def _analysis(analysis: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what the analysis says, the summary first and the two inner objects opened."""
    pairs: list[tuple[str, object]] = [("summary", analysis.get("summary"))]
    for key, value in analysis.items():
        if key in TOLD_ELSEWHERE:
            continue
        inner = value.items() if isinstance(value, dict) else [(key, value)]
        pairs += [(str(name).replace("_", " "), _flat(each)) for name, each in inner]
    return pairs


def _flat(value: Any) -> str:
    """Return a JSON value in words."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(filter(None, map(_flat, value)))
    return f"{value:g}" if isinstance(value, float) else str(value)


def search(
    words: Annotated[list[str], typer.Argument(metavar="QUERY", help="What to look for, in your own words.")],
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many hits.")] = 10,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Find items by words and by meaning, the best first."""
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    query = " ".join(words).strip()
    if not query:
        raise UsageError("Say what to look for.")
    with connect(data, api_url) as api:
        answer = api.search(query, limit)
    if json:
        out.document(answer)
        return 0
    if answer["hits"]:
        show_hits(out, answer["hits"])
    else:
        out.note("Nothing was found.")
    for note in answer.get("notes") or []:
        out.note(str(note), "yellow")
    return 0


def show_hits(out: "Output", hits: list[dict[str, Any]], *, with_ids: bool = True) -> None:
    """Print hits as a table: how well each fits, by words and by meaning, from 0 to 1, and what it is."""
    from cli.output import short_ids, styled, table

    narrow = out.console.width < 100
    columns = ["#", "Score", "Name", "Headline"]
    if not narrow:
        ids = ["Item"] if with_ids else []
        columns = ["#", "Score", "Words", "Meaning", *ids, "Name", "Headline"]
    listing = table(*columns, right=("#", "Score", "Words", "Meaning"), whole=("Item",))
    shorts = short_ids([str(hit["item_id"]) for hit in hits])
    for position, (hit, short) in enumerate(zip(hits, shorts, strict=True), start=1):
        cells = {
            "#": styled(position),
            "Score": styled(_number(hit.get("score"))),
            "Words": styled(_number(hit.get("text_score"))),
            "Meaning": styled(_number(hit.get("vector_score"))),
            "Item": styled(short),
            "Name": styled(hit.get("filename") or ""),
            "Headline": styled(hit.get("headline") or hit.get("summary") or ""),
        }
        listing.add_row(*(cells[column] for column in columns))
    out.show(listing)


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "–"
