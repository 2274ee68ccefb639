"""How well the API's search answers the retrieval set: `python -m tests.retrieval.measuring [--record]`.

Half of the questions chose the constants of the ranking, and the other half is what is reported. With
`--record` the figures are written to `figures.json`, which a test compares with and docs/search.md shows.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from cli import measures
from tests.retrieval import collection, loading
from tests.retrieval.collection import HALVES, HERE, Asked
from tests.retrieval.loading import MODES, Search

FIGURES = HERE / "figures.json"
USER = "retrieval"
TOLD = ("ndcg@10", "mrr", "recall@10", "no_answer_empty")

Figures = dict[str, dict[str, dict[str, dict[str, float | None]]]]
"""By half, mode, and type of question or `all`."""


def figures(search: Search) -> Figures:
    """Ask everything in every mode."""
    rankings = {mode: loading.rankings(collection.questions(), search, mode) for mode in MODES}
    return {
        half: {mode: _of_types(collection.questions(half), rankings[mode]) for mode in MODES}
        for half in HALVES
    }


def _of_types(asked: Sequence[Asked], rankings: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    kinds = list(dict.fromkeys(each.kind for each in asked))
    return {
        name: _measured([each for each in asked if name in ("all", each.kind)], rankings)
        for name in ("all", *kinds)
    }


def _measured(asked: Sequence[Asked], rankings: Mapping[str, Any]) -> dict[str, float | None]:
    queries = [
        measures.Query(
            each.query_id,
            each.text,
            each.kind,
            {
                str(collection.item_id(name)): measures.GRADES[relevance]
                for name, relevance in each.expected.items()
            },
        )
        for each in asked
    ]
    found = {each.query_id: [item for item, _ in rankings[each.query_id]] for each in asked}
    measured = measures.measure(queries, found)
    return {name: value if (value := measured[name]) is None else round(value, 4) for name in TOLD}


def table(measured: Figures) -> str:
    """Return the figures as docs/search.md has them: nDCG@10, by type of question."""
    head = [f"{mode}, {half}" for mode in MODES for half in HALVES]
    lines = ["| Questions | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    kinds = [kind for kind in measured[HALVES[0]][MODES[0]] if kind not in ("all", "none")]
    for kind in ("all", *kinds):
        values = [measured[half][mode][kind]["ndcg@10"] for mode in MODES for half in HALVES]
        told = " | ".join(f"{value:.3f}" for value in values if value is not None)
        lines.append(f"| {'all with an answer' if kind == 'all' else kind} | {told} |")
    empty = [measured[half][mode]["all"]["no_answer_empty"] for mode in MODES for half in HALVES]
    told = " | ".join(f"{value:.0%}" for value in empty if value is not None)
    lines.append(f"| none: nothing was shown | {told} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Measure on an embedded PostgreSQL, print the table, and record it where that is asked for."""
    from benchmarks import handler, postgres

    with postgres.migrated() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            loading.load(connection, USER, collection.pictures())
            connection.execute("ANALYZE")
        with handler.running(url) as call:
            measured = figures(lambda **asked: list(call(USER, "/search", **asked)["hits"]))
    sys.stdout.write(table(measured))
    if arguments == ["--record"]:
        FIGURES.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
