"""How fast a search answers, and whether it finds what is nearest: `python -m benchmarks.search`.

100,000 pictures of 50 users on the embedded PostgreSQL, and the API's own handler in this process, warm.
Everything is measured in turn, and compared with the bare statement that reads a user's vectors: what no
exact search can do without.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks import handler, postgres
from benchmarks.collection import COMMON, MILLION_SHAPE, QUICK_SHAPE, RARE, SHAPE, Collection, load
from benchmarks.handler import Call
from benchmarks.timing import Times, interleaved
from shared import embeddings, hashed_words

MODEL = embeddings.OFFLINE.name
RECALL_AT = 10

SCAN = """
SELECT item_id, (embedding <=> %(vector)s::halfvec(1024)) + 0 AS distance
  FROM embeddings
 WHERE user_id = %(user_id)s AND model = %(model)s
 ORDER BY distance
 LIMIT 20
"""


@dataclass(frozen=True)
class Goal:
    """What a figure is not to exceed, in milliseconds at p95."""

    name: str
    p95_ms: float


GOALS = (
    Goal("hybrid, 20,000", 60),
    Goal("hybrid, 2,000", 10),
    Goal("list, 20,000", 15),
    Goal("list, 2,000", 15),
    Goal("show, 20,000", 15),
    Goal("show, 2,000", 15),
)


@contextmanager
def database(folder: Path | None, collection: Collection) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the URL of a database that holds the collection, and what it took to fill it, in seconds.

    Args:
        folder: where it is kept for the next time; None for a temporary one.
    """
    name = f"bench_{len(collection.pictures)}"
    taken: dict[str, float] = {}
    with postgres.running(folder) as server:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {name}")
        url = server.get_uri(name)
        if known is None:
            postgres.migrate(url)
            with psycopg.connect(url, autocommit=True) as connection:
                taken = load(collection, connection)
        yield url, taken


def measure(
    collection: Collection, url: str, call: Call, rounds: int, only_goals: bool = False
) -> dict[str, Times]:
    """Measure what users ask for, as the largest of them and as one of 2,000 pictures.

    Args:
        only_goals: leave out what has no goal.
    """
    goals = {goal.name for goal in GOALS}
    questions = collection.questions(rounds)
    vectors = [embeddings.halfvec(hashed_words.embed(question) or []) for question in questions]
    with postgres.connected(url) as connection:
        times: dict[str, Times] = {}
        sizes = sorted(set(collection.sizes), reverse=True)
        for size in (sizes[0], sizes[2]):
            calls: dict[str, Any] = {}
            user = collection.user_of(size)
            first = call(user, "/items", limit=1)["items"][0]["item_id"]

            def search(number: int, user: str = user, **more: Any) -> Any:
                return call(user, "/search", **{"q": questions[number], **more})

            def misspelt(number: int, search: Any = search) -> Any:
                return search(number, q=" ".join(slipped(word) for word in questions[number].split()))

            def scan(number: int, user: str = user) -> Any:
                named = {"user_id": user, "model": MODEL, "vector": vectors[number]}
                return connection.execute(SCAN, named).fetchall()

            filtered = {
                "hybrid": {},
                "text only": {"mode": "text"},
                "meaning only": {"mode": "vector"},
                "rare category": {"category": RARE},
                "common category": {"category": COMMON},
                "captured in one month": {"captured_from": "2024-03-01", "captured_to": "2024-03-31"},
                "by date": {"sort": "date"},
                "explained": {"explain": "true"},
                "100 hits": {"limit": 100},
                "all that has a vector": {"min_score": 0},
            }
            calls[f"vectors, bare, {size:,}"] = scan
            for name, more in filtered.items():
                calls[f"{name}, {size:,}"] = lambda number, search=search, more=more: search(number, **more)
            calls[f"misspelt, {size:,}"] = misspelt
            for name, path in (
                ("list", "/items"),
                ("show", f"/items/{first}"),
                ("similar", f"/items/{first}/similar"),
            ):
                calls[f"{name}, {size:,}"] = lambda _, user=user, path=path: call(user, path)
            if only_goals:
                calls = {name: each for name, each in calls.items() if name in goals or "bare" in name}
            # One user after the other: together they have more than the server keeps in its own memory.
            times |= interleaved(calls, rounds)
        return times


def slipped(word: str) -> str:
    """Return a word with two letters in each other's place."""
    middle = len(word) // 2
    return word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]


def duplicates(collection: Collection, call: Call) -> dict[str, float]:
    """Return the seconds that the first page of each kind of duplicates takes the largest user."""
    user = collection.user_of(max(collection.sizes))
    taken = {}
    for reason in ("exact", "perceptual", "embedding"):
        started = time.perf_counter()
        call(user, "/duplicates", by=reason)
        taken[reason] = round(time.perf_counter() - started, 3)
    return taken


def recall(collection: Collection, call: Call, rounds: int) -> dict[str, float]:
    """Return which share of the ten nearest, as numpy finds them, the search finds, by how many one owns."""
    found: dict[str, float] = {}
    owners = np.array([picture.user_id for picture in collection.pictures])
    for size in sorted(set(collection.sizes), reverse=True):
        user = collection.user_of(size)
        own = np.flatnonzero(owners == user)
        numbers = {str(collection.pictures[index].item_id): index for index in own}
        hits = wanted = 0
        for question in collection.questions(rounds, seed=2):
            asked = np.array(hashed_words.embed(question)).astype(np.float16).astype(np.float32)
            near = collection.vectors @ (asked / np.linalg.norm(asked))
            exact = np.sort(near[own])[::-1][:RECALL_AT]
            answer = call(user, "/search", q=question, mode="vector", min_score=0, limit=RECALL_AT)
            got = [numbers[hit["item_id"]] for hit in answer["hits"]]
            # What is just as near as the tenth is as good as the tenth.
            hits += sum(near[index] >= exact[-1] - 1e-4 for index in got)
            wanted += len(exact)
        found[f"{size:,}"] = round(hits / wanted, 4)
    return found


def told(times: dict[str, Times], result: dict[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [f"{'':34}{'p50 ms':>9}{'p95 ms':>9}{'× bare':>9}  goal"]
    goals = {goal.name: goal.p95_ms for goal in GOALS}
    for name, taken in times.items():
        bare = times[f"vectors, bare, {name.rpartition(', ')[2]}"].p50
        goal = goals.get(name)
        verdict = "" if goal is None else f"  p95 ≤ {goal:g}: {'met' if taken.p95 <= goal else 'missed'}"
        lines.append(f"{name:34}{taken.p50:9.1f}{taken.p95:9.1f}{taken.p50 / bare:9.1f}{verdict}")
    lines.append("")
    if "recall_at_10" in result:
        found = (f"{value:.4f} ({size} pictures)" for size, value in result["recall_at_10"].items())
        lines.append("recall@10 against numpy: " + ", ".join(found))
    if "duplicates_s" in result:
        pages = (f"{value:.2f} ({reason})" for reason, value in result["duplicates_s"].items())
        lines.append("first page of duplicates, s: " + ", ".join(pages))
    if result["load"]:
        lines.append("loading: " + ", ".join(f"{name} {value:,}" for name, value in result["load"].items()))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="6,400 pictures, in half a minute")
    parser.add_argument("--million", action="store_true", help="a million of 500 users, in half an hour")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--data", type=Path, help="keep the database in this folder, and take it from there")
    parser.add_argument("--rounds", type=int, help="how often everything is asked")
    parser.add_argument("--goals", action="store_true", help="only the times that have a goal")
    given = parser.parse_args(arguments)
    rounds = given.rounds or (20 if given.quick else 100)
    collection = Collection(MILLION_SHAPE if given.million else QUICK_SHAPE if given.quick else SHAPE)
    with database(given.data, collection) as (url, taken), handler.running(url) as call:
        times = measure(collection, url, call, rounds, given.goals)
        result: dict[str, Any] = {
            "pictures": len(collection.pictures),
            "users": len(collection.users),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "load": taken,
            "times": {name: each.record() for name, each in times.items()},
        }
        if not (given.goals or given.million):
            result["recall_at_10"] = recall(collection, call, max(10, rounds // 3))
            result["duplicates_s"] = duplicates(collection, call)
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if given.json else told(times, result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
