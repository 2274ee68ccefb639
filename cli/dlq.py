"""`magpie dlq`: what failed for good, why, and the way back."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.asking import Yes
from cli.errors import CommandError
from cli.groups import group
from cli.options import ApiUrl, Data, Json
from cli.places import StackName

if TYPE_CHECKING:
    from cli.letters import Letter, Letters, Queue
    from cli.output import Output

QueueName = Annotated[
    str | None,
    typer.Argument(metavar="[QUEUE]", help="Such as analyzer. Default: all of them.", show_default=False),
]
app = group("Dead letters: what failed for good, why, and how it is sent round again.")


@app.command("list")
def list_queues(
    json: Json = False, data: Data = None, api_url: ApiUrl = None, stack_name: StackName = None
) -> int:
    """List the dead-letter queues: how many messages each holds, and how old the oldest is."""
    from cli.letters import LOOKED_AT, find
    from cli.output import Output, listed, styled, table

    out = Output(json)
    letters = find(data, api_url, stack_name)
    rows = []
    for queue in letters.queues:
        seen = letters.look(queue, LOOKED_AT) if queue.waiting else []
        rows.append((queue, seen[0].sent_at if seen else None, len(seen) < queue.count))
    if json:
        out.document(
            {
                "queues": [
                    {
                        **_record(queue),
                        "oldest_sent_at": _iso(oldest),
                        "oldest_of_some": some and bool(oldest),
                    }
                    for queue, oldest, some in rows
                ]
            }
        )
        return 0
    listing = table("Queue", "Messages", "Oldest", "From", right=("Messages", "Oldest"), whole=("Queue",))
    for queue, oldest, some in rows:
        style = "red" if queue.count else "dim"
        listing.add_row(
            styled(queue.name, style),
            styled(f"{queue.count:,}", style),
            # Of a long queue only some messages are looked at.
            styled(f"{'over ' if some else ''}{_age(oldest)}" if oldest else "", style),
            styled(", ".join(arn.rpartition(":")[2] for arn in queue.sources), "dim"),
        )
    out.show(listing)
    total = sum(queue.count for queue in letters.queues)
    out.note(
        f"{listed(total, 'dead letter')}: ./magpie dlq show tells what they are."
        if total
        else "No dead letters."
    )
    return 0


@app.command()
def show(
    queue: QueueName = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of each queue.")] = 10,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
    stack_name: StackName = None,
) -> int:
    """Show what is in a dead-letter queue. It all stays there.

    SQS does not say why a function failed: its log does, under the correlation id.
    """
    from cli.letters import find
    from cli.output import Output

    out = Output(json)
    letters = find(data, api_url, stack_name)
    found = [(each, letters.look(each, limit) if each.waiting else []) for each in letters.chosen(queue)]
    if json:
        out.document(
            {
                "queues": [
                    {**_record(each), "letters": [_letter_record(letter) for letter in seen]}
                    for each, seen in found
                ]
            }
        )
        return 0
    for each, seen in found:
        if each.count:
            _show_letters(out, each, seen, letters.log(each))
    if not any(each.count for each, _ in found):
        out.note("No dead letters.")
    return 0


@app.command()
def redrive(
    queue: QueueName = None,
    rate: Annotated[
        int | None,
        typer.Option(min=1, max=500, help="Messages a second. Default: as SQS can.", show_default=False),
    ] = None,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
    stack_name: StackName = None,
) -> int:
    """Send dead letters round again, until the queue is empty. What was done already is found done.

    Mend first what they failed on. Exits 1 when some are left.
    """
    from cli.letters import find
    from cli.output import Output

    out = Output(json)
    letters = find(data, api_url, stack_name)
    results = []
    try:
        for each in letters.chosen(queue):
            if letters.count(each):
                results.append(_redrive(out, letters, each, rate))
    except CommandError as error:
        raise CommandError(
            error.code, error.message, exit_code=error.exit_code, more={"queues": results}
        ) from None
    left = sum(result["left"] for result in results)
    if json:
        out.document({"queues": results})
    elif not results:
        out.note("No dead letters: nothing is to be sent round again.")
    return 1 if left else 0


@app.command()
def purge(
    queue: QueueName = None,
    yes: Yes = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
    stack_name: StackName = None,
) -> int:
    """Delete dead letters for good, after asking."""
    from cli.asking import ask, refuse_unasked
    from cli.letters import find
    from cli.output import Output, listed

    out = Output(json)
    refuse_unasked(yes, "--yes deletes them without asking.")
    letters = find(data, api_url, stack_name)
    full = [each for each in letters.chosen(queue) if letters.count(each)]
    total = sum(each.count for each in full)
    if full and not yes:
        names = ", ".join(f"{each.count:,} of {each.name}" for each in full)
        ask(f"{letters.place}: delete {listed(total, 'dead letter')} for good ({names})?")
    purged = []
    for each in full:
        record = {"queue": each.name, "purged": each.count}
        letters.purge(each)
        purged.append(record)
        if not json:
            out.line(f"{each.name}: {listed(each.count, 'message')} deleted.", "green")
    if json:
        out.document({"queues": purged})
    elif not full:
        out.note("No dead letters.")
    return 0


def _redrive(out: "Output", letters: "Letters", queue: "Queue", rate: int | None) -> dict[str, Any]:
    """Move one queue's messages, and say how it went."""
    from cli.output import listed

    there = queue.count
    moved = 0
    try:
        with _Moving(out, queue.name, there) as progress:
            for step in letters.redrive(queue, rate):
                moved = max(moved, step["moved"])
                progress.update(moved, step["total"] or there)
        left = 0 if moved >= there else letters.left(queue)
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted",
            f"Interrupted. SQS goes on moving what is in {queue.name}: ./magpie dlq list tells what is left.",
            exit_code=130,
        ) from None
    if not out.as_json:
        where = ", ".join(arn.rpartition(":")[2] for arn in queue.sources)
        rest = f", {left:,} left: somebody is just looking at them, or they came back" if left else ""
        out.line(
            f"{queue.name}: {listed(moved, 'message')} moved to {where}{rest}.", "yellow" if left else "green"
        )
    return {"queue": queue.name, "moved": moved, "left": left, "to": queue.sources}


class _Moving:
    """How far a move is, on stderr: a bar on a terminal, else nothing, for most take a second."""

    def __init__(self, out: "Output", name: str, total: int) -> None:
        self._out = out
        self._name = name
        self._total = total
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "_Moving":
        if self._out.errors.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                console=self._out.errors,
                transient=True,
            )
            self._task = self._bar.add_task(self._name, total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, moved: int, total: int) -> None:
        if self._bar:
            self._bar.update(self._task, completed=moved, total=max(total, moved))


def _show_letters(out: "Output", queue: "Queue", seen: "list[Letter]", log: str) -> None:
    from rich.text import Text

    from cli.output import age, facts, listed, styled

    now = datetime.now(UTC)
    out.show(styled(f"{queue.name}  {listed(queue.count, 'message')}", "bold"))
    for letter in seen:
        since = _iso(letter.sent_at)
        old = age(since, now)
        event = letter.envelope.get("detail-type")
        out.show(
            Text(),
            facts(
                [
                    ("message", letter.message_id),
                    ("event", event),
                    ("about", _about(letter.about)),
                    ("body", letter.body[:500] if not letter.envelope else None),
                    ("sent", f"{since} ({old if old == 'now' else f'{old} ago'})" if since else None),
                    ("received", letter.receives and listed(letter.receives, "time")),
                    ("why", letter.error or f"a function failed on it: see {log}"),
                    ("correlation id", letter.correlation_id),
                ]
            ),
        )
    if len(seen) < queue.count:
        said = f"{queue.count - len(seen):,} more" if seen else "Somebody is just looking at them"
        out.note(f"{said}: --limit N shows more." if seen else f"{said}: try again in a moment.")
    out.show(Text())


def _about(data: dict[str, Any]) -> str:
    """Return what an event is about in a line: its plain values, and those one level below."""
    said = []
    for name, value in data.items():
        inner = value.items() if isinstance(value, dict) else [(name, value)]
        said += [f"{key} {each}" for key, each in inner if isinstance(each, str | int | float)]
    return ", ".join(said)


def _record(queue: "Queue") -> dict[str, Any]:
    return {
        "queue": queue.name,
        "arn": queue.arn,
        "messages": queue.count,
        "in_flight": queue.hidden,
        "sources": queue.sources,
    }


def _letter_record(letter: "Letter") -> dict[str, Any]:
    return {
        "message_id": letter.message_id,
        "sent_at": _iso(letter.sent_at),
        "receives": letter.receives,
        "correlation_id": letter.correlation_id,
        "error": letter.error,
        "body": letter.envelope or letter.body,
    }


def _iso(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds is not None else None


def _age(seconds: float | None) -> str:
    from cli.output import age

    return age(_iso(seconds), datetime.now(UTC))
