"""The nearest vectors of one user among those of many, in four ways: `python -m benchmarks.vectors`.

*ours* is the table and the index of the migrations, and the statement that is forced to be exact. *vector* is
what one writes first: pgvector's `vector` with the primary key. *hnsw* is the index that pgvector's
documentation has one make for it, filtered by user afterwards, and *hnsw, iterative* goes on until there are
enough (`hnsw.iterative_scan`). The planner decides what each of them does.

100,000 vectors of 50 users, like those of a model (`benchmarks.approximate`), asked by the largest of the
users and by one of 2,000, in turn. Told are times, what was found of the ten nearest and how many rows of the
twenty that were asked for, the cost of an INSERT, of loading by binary COPY, and bytes.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks import postgres
from benchmarks.approximate import KINDS, RECALL_AT, LikeAModel, ids, recall
from benchmarks.collection import QUICK_SHAPE, SHAPE
from benchmarks.timing import interleaved
from shared import embeddings

ROWS_ASKED = 20
ROUNDS, QUICK_ROUNDS = 60, 10
INSERTS = 200
BUILD_MEMORY = "2GB"
QUESTIONS = ("easy", "hard")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """A way to ask for the nearest: of which table, by what type and order, and whether HNSW goes on."""

    table: str
    type: str = "vector"
    order: str = "distance"
    iterative_scan: str = "off"

    @property
    def statement(self) -> str:
        """What is sent, with `user_id`, `model` and the `vector` in text."""
        return f"""
            SELECT item_id, embedding <=> %(vector)s::{self.type}(1024) AS distance
              FROM {self.table}
             WHERE user_id = %(user_id)s AND model = %(model)s
             ORDER BY {self.order}
             LIMIT {ROWS_ASKED}
            """  # noqa: S608 - of the constants below


WAYS = {
    "ours": Way("ours", "halfvec", "(embedding <=> %(vector)s::halfvec(1024)) + 0"),
    "vector": Way("vectors"),
    "hnsw": Way("indexed"),
    "hnsw, iterative": Way("indexed", iterative_scan="strict_order"),
}
TABLES = {
    "ours": "CREATE TABLE ours (LIKE embeddings INCLUDING ALL)",
    "vectors": """
        CREATE TABLE vectors (LIKE embeddings INCLUDING DEFAULTS, PRIMARY KEY (user_id, item_id));
        ALTER TABLE vectors ALTER COLUMN embedding TYPE vector(1024),
                            ALTER COLUMN embedding SET STORAGE EXTERNAL
        """,
    "indexed": "CREATE TABLE indexed (LIKE vectors INCLUDING ALL)",
}
INDEXES = {"indexed": "CREATE INDEX ON indexed USING hnsw (embedding vector_cosine_ops)"}


class World:
    """Users of the sizes of a shape, with all their vectors, in the tables of every way."""

    def __init__(self, shape: Sequence[tuple[int, int]]) -> None:
        self.sizes = [size for count, size in shape for _ in range(count)]
        self.users = [f"user-{number:04}" for number in range(len(self.sizes))]
        self.source = LikeAModel()
        self.vectors = self.source.vectors(sum(self.sizes)).astype(np.float16)
        self.first = [0, *accumulate(self.sizes)]

    def own(self, user: str) -> Floats:
        """Return a user's vectors."""
        number = self.users.index(user)
        return self.vectors[self.first[number] : self.first[number + 1]].astype(np.float32)

    def rows(self) -> Iterator[tuple[str, UUID, Any]]:
        """Yield owner, id and vector of every row, of all users at once, as pictures come in."""
        owners = np.repeat(np.arange(len(self.users)), self.sizes)
        every = list(ids(0, len(self.vectors)))
        for number in np.random.default_rng(1).permutation(len(self.vectors)):
            yield self.users[owners[number]], every[number], self.vectors[number]

    def load(self, connection: "psycopg.Connection[Any]", table: str) -> float:
        """Fill a table by binary COPY, and return rows a second."""
        kind = ">f2" if table == "ours" else ">f4"
        started = time.perf_counter()
        with connection.cursor() as cursor:
            postgres.copy_vectors(
                cursor,
                self.source.name,
                ((user, item_id, vector.astype(kind), item_id.hex) for user, item_id, vector in self.rows()),
                table,
            )
        return len(self.vectors) / (time.perf_counter() - started)


def fill(connection: "psycopg.Connection[Any]", world: World, say: Any) -> dict[str, dict[str, float]]:
    """Make and fill every table, and return what that took."""
    connection.execute(f"SET maintenance_work_mem = '{BUILD_MEMORY}'")
    taken: dict[str, dict[str, float]] = {}
    for table, statement in TABLES.items():
        say(f"loading {table}")
        connection.execute(statement)
        taken[table] = {"loaded rows/s": round(world.load(connection, table))}
        if table in INDEXES:
            say("building hnsw")
            started = time.perf_counter()
            connection.execute(INDEXES[table])
            taken[table]["index built s"] = round(time.perf_counter() - started, 1)
        connection.execute(f"VACUUM (ANALYZE) {table}")
        row = connection.execute("SELECT pg_total_relation_size(%s)", (table,)).fetchone()
        taken[table]["MB"] = round(row[0] / 1e6) if row else 0
    return taken


def ask(url: str, world: World, rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Ask in every way, in turn; returns by size of the user and kind of question, and then by way."""
    questions = world.source.questions(rounds * KINDS).astype(np.float16).astype(np.float32)
    sizes = sorted(set(world.sizes), reverse=True)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with ExitStack() as opened:
        connections = {name: opened.enter_context(postgres.connected(url)) for name in WAYS}
        for name, way in WAYS.items():
            connections[name].execute(f"SET hnsw.iterative_scan = {way.iterative_scan}")
        for size in (sizes[0], sizes[2]):
            user = world.users[world.sizes.index(size)]
            own = world.own(user)
            for kind, about in enumerate(QUESTIONS):
                asked = questions[kind::KINDS]
                named = [
                    {"user_id": user, "model": world.source.name, "vector": embeddings.halfvec(each.tolist())}
                    for each in asked
                ]
                answers: dict[str, list[list[Any]]] = {name: [[]] * rounds for name in WAYS}

                def call(number: int, name: str, named: Any = named, answers: Any = answers) -> None:
                    rows = connections[name].execute(WAYS[name].statement, named[number])
                    answers[name][number] = rows.fetchall()

                times = interleaved({name: partial(call, name=name) for name in WAYS}, rounds)
                tenth = np.sort(asked @ own.T, axis=1)[:, -RECALL_AT]
                shares = {
                    name: [
                        recall((1 - distance for _, distance in rows), least)
                        for rows, least in zip(each, tenth, strict=True)
                    ]
                    for name, each in answers.items()
                }
                found[f"{size:,}, {about}"] = {
                    name: {
                        **times[name].record(),
                        "recall": round(statistics.mean(shares[name]), 3),
                        "rows": round(statistics.mean(map(len, answers[name])), 1),
                    }
                    for name in WAYS
                }
    return found


def insert(connection: "psycopg.Connection[Any]", world: World) -> dict[str, float]:
    """Return the milliseconds of an INSERT into each table, without those of its COMMIT."""
    new = [embeddings.halfvec(vector.tolist()) for vector in world.source.vectors(INSERTS)]
    fresh = list(ids(len(world.vectors), INSERTS))
    user = world.users[0]

    def one(number: int, table: str) -> None:
        connection.execute(
            f"INSERT INTO {table} ({postgres.VECTOR_COLUMNS}) VALUES (%s, %s, %s, 1024, %s, 1, %s)",  # noqa: S608
            (user, fresh[number], world.source.name, new[number], str(number)),
        )

    with connection.transaction():
        times = interleaved({t: lambda n, t=t: one(n, t) for t in TABLES}, INSERTS, warm_up=0)
    return {table: round(each.p50, 2) for table, each in times.items()}


def measure(url: str, shape: Sequence[tuple[int, int]], rounds: int, say: Any) -> dict[str, Any]:
    """Return everything that is measured."""
    world = World(shape)
    with postgres.connected(url) as connection:
        tables = fill(connection, world, say)
        say("asking")
        found = ask(url, world, rounds)
        say("inserting")
        for table, milliseconds in insert(connection, world).items():
            tables[table]["insert ms"] = milliseconds
    return {
        "vectors": len(world.vectors),
        "users": len(world.users),
        "machine": f"{os.cpu_count()} cores",
        "found": found,
        "tables": tables,
    }


def told(result: Mapping[str, Any]) -> str:
    """Return the figures as tables."""
    lines = [f"{result['vectors']:,} vectors of {result['users']} users, {result['machine']}"]
    for case, ways in result["found"].items():
        lines += ["", f"{case:22}{'p50 ms':>9}{'p95 ms':>9}{'x ours':>8}{'recall@10':>11}{'rows of 20':>12}"]
        for way, each in ways.items():
            ratio = each["p50_ms"] / ways["ours"]["p50_ms"]
            lines.append(
                f"  {way:20}{each['p50_ms']:9.2f}{each['p95_ms']:9.2f}{ratio:8.1f}"
                f"{each['recall']:11.3f}{each['rows']:12.1f}"
            )
    heads = ("insert ms", "loaded rows/s", "index built s", "MB")
    lines += ["", f"{'table':22}" + "".join(f"{head:>15}" for head in heads)]
    names = {way.table: name.partition(",")[0] for name, way in reversed(WAYS.items())}
    for table, each in result["tables"].items():
        cells = "".join(f"{each[head]:15,}" if head in each else " " * 15 for head in heads)
        lines.append(f"  {names[table]:20}{cells}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vectors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="6,400 vectors, in some seconds")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args(arguments)
    shape, rounds = (QUICK_SHAPE, QUICK_ROUNDS) if given.quick else (SHAPE, ROUNDS)
    with postgres.migrated() as url:
        result = measure(url, shape, rounds, lambda line: sys.stderr.write(f"{line}\n"))
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if given.json else told(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
