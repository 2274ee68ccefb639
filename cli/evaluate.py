"""`magpie eval`: how well the search answers questions of which the answers are known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, UsageError
from cli.options import ApiUrl, Data, Json

if TYPE_CHECKING:
    from cli.output import Output


class EvalMode(StrEnum):
    """How to search."""

    text = "text"
    vector = "vector"
    hybrid = "hybrid"
    all = "all"


def evaluate(
    queries: Annotated[
        Path | None,
        typer.Argument(metavar="QUERIES.json", help="A retrieval set.", show_default=False, dir_okay=False),
    ] = None,
    mode: Annotated[EvalMode, typer.Option(help="How to search.")] = EvalMode.all,
    k: Annotated[int, typer.Option(min=1, max=100, help="How many hits count.")] = 10,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="A.json B.json",
            help="Compare two results, as --json printed them, instead of asking.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page.", show_default=False, dir_okay=False),
    ] = None,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Measure the search by questions of which the answers are known, or compare two such measurements.

    Asks every question of a retrieval set through the API, and tells how well its answers are found, in
    each mode and for each type of question, and where it does worst. docs/evaluate.md says how a set is
    written and what the figures mean. Exits 1 when a question could not be scored.
    """
    from cli.evaluating import page, tables
    from cli.output import Output

    out = Output(json)
    if compare is not None:
        if queries is not None or html is not None or data is not None or api_url is not None:
            raise UsageError("--compare reads two results and asks nobody: give it only --mode and --json.")
        return _compare(out, *compare, None if mode is EvalMode.all else mode.value)
    if queries is None:
        raise UsageError("Say which retrieval set: magpie eval QUERIES.json, or --compare A.json B.json.")
    if html is not None:
        page.refuse_other(html)
    document = _evaluate(out, queries, mode, k, data, api_url)
    if html is not None:
        page.write(html, page.evaluation(document))
    if json:
        out.document(document)
    else:
        tables.show(out, document)
    if html is not None:
        out.note(f"Written: {html.absolute()}")
    return 1 if document["unscored"] else 0


def _evaluate(
    out: "Output", path: Path, mode: EvalMode, k: int, data: Path | None, api_url: str | None
) -> dict[str, Any]:
    from datetime import UTC, datetime

    from cli.connect import connect
    from cli.evaluating import answers, report
    from cli.measures import library, read_queries

    queries = read_queries(path)
    # That there is none is better known before every question was asked.
    library()
    modes = answers.MODES if mode is EvalMode.all else (mode.value,)
    rounds = []
    with connect(data, api_url) as api:
        for each in modes:
            with _progress(out, f"Asking by {each}", len(queries)) as told:
                rounds.append(answers.ask(api, queries, each, report.fetched(k), told=told))
        items = answers.look_up(api, report.unfound(queries, rounds))
        where = api.target.api_url
    document = report.document(queries, rounds, items, k)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**document, "set": str(path), "api_url": where, "measured_at": now}


def _compare(out: "Output", one: Path, other: Path, mode: str | None) -> int:
    from cli.evaluating import comparison

    document = comparison.compare(comparison.read(one), comparison.read(other), mode)
    document = {**document, "a": str(one), "b": str(other)}
    if not document["modes"]:
        wanted = mode or "any one"
        raise CommandError("nothing_to_compare", f"The two results were not both measured by {wanted} mode.")
    if out.as_json:
        out.document(document)
    else:
        comparison.show(out, document)
    return 0


@contextmanager
def _progress(out: "Output", what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far it is: a bar on a terminal, else one line."""
    if not out.errors.is_terminal:
        out.step(f"{what}: {total}")
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=out.errors, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
