"""Write the tables of docs/cost.md anew, from the data of `magpie cost`: `python -m benchmarks.cost_page`.

What stands between `<!-- NAME -->` and `<!-- end -->` is replaced; the sentences around are a person's.
"""

import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.costs import advice, data, growth, models, shown
from cli.costs.memory import SIZES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cost.md"
MEGAPIXELS = 12
COLUMNS = "100"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def amounts() -> str:
    """Return what the command prints of its defaults, but for what the page tells in more detail."""
    from cli.app import main

    out, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = COLUMNS
    try:
        with redirect_stdout(out):
            main(["cost"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    said = out.getvalue().partition("\nMemory of functions")[0].rstrip()
    return f"```\n$ ./magpie cost --items 100000 --searches 500000\n{said}\n```"


def memory() -> str:
    """Return milliseconds and dollars of a million messages by memory size."""
    rows = []
    for each in advice.advice(MEGAPIXELS, data.assumed("analysis_seconds")):
        work = each.work
        sizes = [f"{work.duration_ms(size):,} · {1e6 * work.usd(size):.2f}" for size in SIZES]
        about = [f"{work.cpu_ms:.3g}", f"{work.waiting_ms:,.0f}", str(each.peak_mb)]
        chosen = [f"{each.template_mb:,}", f"{each.cheapest_mb:,}"]
        rows.append([f"{each.name}, {each.case}", *about, *sizes, *chosen])
    return table(
        ["Message", "CPU ms", "waits ms", "peak MB", *(f"{size:,}" for size in SIZES), "has", "cheapest"],
        rows,
    )


def grown() -> list[growth.Grown]:
    """Return the rows of the tables of growth."""
    described = models.described(models.DEFAULT, datetime.now(UTC).date())
    return growth.rows(MEGAPIXELS, described, data.assumed("analysis_seconds"))


def dollars() -> str:
    """Return how money grows."""
    return table(
        ["Pictures", "Bring in", "offline", "Again", "A month"],
        [
            [
                shown.counted(row.items),
                *map(shown.rounded, (row.once_usd, row.once_offline_usd, row.again_usd, row.month_usd)),
            ]
            for row in grown()
        ],
    )


def time() -> str:
    """Return how time and the database grow."""
    return table(
        ["Pictures", "At once", "Bring in", "offline", "Again", "Database", "Machine"],
        [
            [
                shown.counted(row.items),
                "{image_processor} / {analyzer} / {embedder} / {run}".format(**row.settings),
                *map(shown.long, (row.bring_seconds, row.bring_offline_seconds, row.again_seconds)),
                shown.large(row.database_bytes),
                row.machine.name if row.machine else "none",
            ]
            for row in grown()
        ],
    )


def limits() -> str:
    """Return what bites at each size, with its sources."""
    return table(
        ["Pictures", "What bites", "What lifts it", "Source"],
        [
            [shown.counted(row.items), row.bites, row.lifts, ", ".join(map(link, row.sources))]
            for row in grown()
        ],
    )


def link(source: str) -> str:
    """Return a link to a page of ours or of somebody else."""
    if source.startswith("https://"):
        return f"[{urlsplit(source).netloc}]({source})"
    inside = source.removeprefix("docs/")
    return f"[{inside.partition('#')[0]}]({inside})"


def measured() -> str:
    """Return what each message took."""
    return table(
        [
            "Message",
            "CPU ms",
            "round trips to the database",
            "waited, ms",
            "log bytes",
            "peak MB",
            "AWS calls",
        ],
        [
            [
                f"{function}, {case}",
                f"{took['cpu_ms']:.1f}",
                str(took["sql"]),
                f"{took['sql_ms']:.1f}",
                f"{took['log_bytes']:,}",
                str(took["peak_mb"]),
                ", ".join(f"{count} {call}" for call, count in took["aws"].items()) or "–",
            ]
            for function, cases in data.read("measured")["messages"].items()
            for case, took in cases.items()
        ],
    )


def database() -> str:
    """Return the bytes of a picture in each table."""
    sizes: Mapping[str, int] = data.read("measured")["database_bytes"]
    rows = [[name, f"{size:,}"] for name, size in sizes.items() if size]
    return table(["Table", "Bytes of a picture"], [*rows, ["together", f"{sum(sizes.values()):,}"]])


def objects() -> str:
    """Return the bytes of the objects of a picture."""
    cases: Mapping[str, Mapping[str, int]] = data.read("measured")["object_bytes"]
    kinds = list(next(iter(cases.values())))
    rows = [
        [f"{name} JPEG", *(f"{sizes[kind] / 1e6:.2f} MB" for kind in kinds)] for name, sizes in cases.items()
    ]
    return table(["Picture", *kinds], rows)


def assumed() -> str:
    """Return what is assumed, and why."""
    values: dict[str, Any] = {
        name: each for name, each in data.read("assumed").items() if isinstance(each, dict)
    }
    return table(
        ["Assumed", "Value", "Why"],
        [[name.replace("_", " "), f"{each['value']:,}", each["why"]] for name, each in values.items()],
    )


BLOCKS: dict[str, Callable[[], str]] = {
    each.__name__: each
    for each in (amounts, memory, dollars, time, limits, measured, database, objects, assumed)
}


def written(page: str) -> str:
    """Return the page with its tables made anew.

    Raises:
        ValueError: a table has no place in it.
    """
    for name, make in BLOCKS.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        found = place.search(page)
        if found is None:
            raise ValueError(f"there is no place for {name}")
        page = f"{page[: found.end(1)]}\n{make()}\n\n{page[found.start(2) :]}"
    return page


def main() -> int:
    """Rewrite the page."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
