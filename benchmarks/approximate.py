"""A million vectors of one user, exactly and by an approximate index: `python -m benchmarks.approximate`.

A database of its own on disk, the schema of the migrations, the index that the documentation has an operator
make, and the statements that the API sends. There is no model here that a million texts could be sent to, so
the vectors are made to be like a model's: points of 48 dimensions in 2,000 clusters, turned into 1,024, with
noise. Easy questions come from a cluster, hard ones from the middle between two, and those of `nowhere` from
anywhere: what is nearest to them is nearly as far away as everything else.

Vectors of the offline embedder are measured with `--offline`: they are no case for such an index.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks import handler, postgres
from benchmarks.collection import Collection
from shared import embeddings, hashed_words

USER = "somebody"
ROWS, QUICK_ROWS = 1_000_000, 20_000
AT_ONCE = 20_000
DIMENSIONS = embeddings.DIMENSIONS
LATENT, CLUSTERS = 48, 2_000
MIN_RECALL = 0.97
KINDS = 3
EFFORTS = (200, 400, 1000)
RECALL_AT = 10
BUILD_MEMORY = "4GB"
"""In which the index is built: where it does not fit, building it takes many times longer."""

Floats = NDArray[np.float32]


class LikeAModel:
    """Vectors as a model that knows meanings makes them: many numbers, few of them free, in clusters."""

    name = embeddings.VOYAGE.name

    def __init__(self, seed: int = 20261120) -> None:
        self._random = np.random.default_rng(seed)
        self._turn = self._normal(LATENT, DIMENSIONS) / np.sqrt(LATENT)
        self._centres = self._normal(CLUSTERS, LATENT)

    def _normal(self, rows: int, columns: int) -> Floats:
        return self._random.standard_normal((rows, columns), dtype=np.float32)

    def _turned(self, points: Floats, noise: float) -> Floats:
        vectors = points @ self._turn
        vectors += noise * self._normal(*vectors.shape)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _near_centres(self, count: int) -> Floats:
        chosen = self._centres[self._random.integers(0, CLUSTERS, count)]
        return 0.8 * chosen + 0.6 * self._normal(count, LATENT)

    def vectors(self, count: int) -> Floats:
        """Return so many vectors of length 1."""
        return self._turned(self._near_centres(count), 0.15)

    def questions(self, count: int) -> Floats:
        """Return questions of the three kinds in turn, with more noise, as other words bring it."""
        asked = self._near_centres(count)
        hard = asked[1::KINDS]
        hard += self._near_centres(len(hard))
        hard /= np.sqrt(2)
        asked[2::KINDS] = self._normal(len(asked[2::KINDS]), LATENT)
        return self._turned(asked, 0.3)


class Offline:
    """Vectors of hashed words: of texts of sixty words, and questions of two or three."""

    name = embeddings.OFFLINE.name

    def __init__(self, seed: int = 20261120) -> None:
        self._collection = Collection(((1, 1),))
        self._random = np.random.default_rng(seed)
        self._features = np.array(
            [hashed_words.embed(word) for word in self._collection.vocabulary], np.float32
        )

    def vectors(self, count: int) -> Floats:
        """Return so many vectors of length 1."""
        topics = self._collection.topics[self._random.integers(0, len(self._collection.topics), count)]
        own = np.take_along_axis(topics, self._random.integers(0, topics.shape[1], (count, 14)), axis=1)
        common = self._random.choice(len(self._features), (count, 46), p=self._collection.shares)
        made = np.zeros((count, DIMENSIONS), np.float32)
        for column in np.concatenate([own, common], axis=1).T:
            made += self._features[column]
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    def questions(self, count: int) -> Floats:
        """Return easy and hard questions."""
        return np.array([hashed_words.embed(text) for text in self._collection.questions(count)], np.float32)


def ids(first: int, count: int) -> Iterator[UUID]:
    """Yield the ids of rows, from which their numbers can be read again."""
    for number in range(first, first + count):
        yield UUID(int=number + (4 << 76) + (8 << 60), version=4)


def fill(
    connection: "psycopg.Connection[Any]", source: LikeAModel | Offline, rows: int, asked: Floats
) -> Floats:
    """Fill the tables, and return the similarity of the tenth nearest to each question."""
    best = np.full((len(asked), RECALL_AT), -2, np.float32)
    connection.execute("ALTER TABLE embeddings DISABLE TRIGGER ALL")  # the items come after
    for first in range(0, rows, AT_ONCE):
        halves = source.vectors(min(AT_ONCE, rows - first)).astype(np.float16)
        near = asked @ halves.astype(np.float32).T
        best = np.sort(np.concatenate([best, np.sort(near, axis=1)[:, -RECALL_AT:]], axis=1), axis=1)[
            :, -RECALL_AT:
        ]
        rows_of_it = zip(ids(first, len(halves)), halves.astype(">f2"), strict=True)
        with connection.cursor() as cursor:
            postgres.copy_vectors(
                cursor, source.name, ((USER, item_id, vector, "") for item_id, vector in rows_of_it)
            )
    connection.execute(
        """
        INSERT INTO items (user_id, item_id, filename, object_key, status, analysis_version)
        SELECT user_id, item_id, 'a.jpg', '', 'ready', 1 FROM embeddings
        """
    )
    connection.execute("ALTER TABLE embeddings ENABLE TRIGGER ALL")
    connection.execute("VACUUM (ANALYZE) embeddings")
    connection.execute("VACUUM (ANALYZE) items")
    return best[:, 0]


def ask(source: LikeAModel | Offline, asked: Floats) -> tuple[list[float], list[list[float]]]:
    """Search as the API does; returns seconds, and the similarities of each answer."""
    from functions.api import approximate, search
    from functions.api.filters import Filters
    from functions.api.question import Question

    approximate.forget()
    model = embeddings.model(source.name)
    taken, found = [], []
    for vector in [*asked[:2], *asked]:  # two to warm up
        question = Question("", "vector", (), model, embeddings.halfvec(vector.tolist()))
        started = time.perf_counter()
        rows = search.run(USER, search.Search(question, Filters(), RECALL_AT))
        taken.append(time.perf_counter() - started)
        found.append([row["similarity"] for row in rows[:RECALL_AT]])
    return taken[2:], found[2:]


def recall(similarities: Iterable[float], tenth: float) -> float:
    """Return the share of the ten nearest that was found: what is as near as the tenth is as good."""
    return min(RECALL_AT, sum(similarity >= tenth - 1e-4 for similarity in similarities)) / RECALL_AT


def figures(taken: Sequence[float], found: Sequence[Sequence[float]], tenth: Floats) -> dict[str, float]:
    """Return times in milliseconds, and which share of the ten nearest was found."""
    share = [recall(rows, least) for rows, least in zip(found, tenth, strict=True)]
    return {
        "p50_ms": round(statistics.median(taken) * 1000, 1),
        "p95_ms": round(sorted(taken)[int(len(taken) * 0.95)] * 1000, 1),
        "recall": [round(statistics.mean(share[kind::KINDS]), 4) for kind in range(KINDS)],
    }


def measure(url: str, source: LikeAModel | Offline, rows: int, count: int, say: Any) -> dict[str, Any]:
    """Return everything that is measured."""
    asked = source.questions(count).astype(np.float16).astype(np.float32)
    result: dict[str, Any] = {"rows": rows, "model": source.name, "questions": count}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SET maintenance_work_mem = '{BUILD_MEMORY}'")
        say(f"filling {rows:,} rows")
        started = time.perf_counter()
        tenth = fill(connection, source, rows, asked)
        result["filled_s"] = round(time.perf_counter() - started)
        with handler.running(url):
            from functions.api import approximate

            usual = approximate.EF_SEARCH
            say("asking exactly")
            taken, found = ask(source, asked[: max(10, count // 4)])
            result["exact"] = figures(taken, found, tenth[: len(found)])
            say("building the index")
            statement = connection.execute("SELECT approximate_index(%s, %s)", (USER, source.name)).fetchone()
            assert statement  # noqa: S101 - it always answers
            started = time.perf_counter()
            connection.execute(statement[0])
            result["built_s"] = round(time.perf_counter() - started)
            sizes = connection.execute(
                "SELECT pg_relation_size('embeddings'), pg_relation_size('embeddings_exact'),"
                " pg_relation_size(approximate_index_name(%s, %s)::regclass)",
                (USER, source.name),
            ).fetchone()
            result["megabytes"] = dict(
                zip(
                    ("table", "exact index", "approximate index"),
                    (round(s / 1e6) for s in sizes or ()),
                    strict=False,
                )
            )
            say("asking the index")
            for effort in EFFORTS:
                approximate.EF_SEARCH = effort
                taken, found = ask(source, asked)
                result[f"ef_search {effort}"] = figures(taken, found, tenth)
            result["ef_search"] = usual
    return result


def told(result: dict[str, Any]) -> str:
    """Return the figures as lines."""
    lines = [
        f"{result['rows']:,} vectors of one user, {result['model']}: filled in {result['filled_s']} s, "
        f"the index built in {result['built_s']} s",
        ", ".join(f"{name} {size:,} MB" for name, size in result["megabytes"].items()),
        f"{'':16}{'p50 ms':>9}{'p95 ms':>9}  recall@10 of easy, hard, nowhere",
    ]
    for name in ("exact", *(f"ef_search {effort}" for effort in EFFORTS)):
        each = result[name]
        shares = "  ".join(f"{share:.4f}" for share in each["recall"])
        lines.append(f"{name:16}{each['p50_ms']:9.1f}{each['p95_ms']:9.1f}  {shares}")
    usual = result[f"ef_search {result['ef_search']}"]["recall"]
    met = min(usual[:2]) >= MIN_RECALL
    verdict = "met" if met else "NOT MET"
    lines.append(f"recall@10 of easy and hard at {result['ef_search']}, at least {MIN_RECALL}: {verdict}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.approximate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rows", type=int, help=f"{ROWS:,} unless said otherwise: 10 GB of disk, half an hour"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows")
    parser.add_argument("--offline", action="store_true", help="vectors of the offline embedder")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args(arguments)
    source = Offline() if given.offline else LikeAModel()
    rows = given.rows or (QUICK_ROWS if given.quick else ROWS)
    with postgres.migrated() as url:
        result = measure(url, source, rows, given.questions, lambda text: sys.stderr.write(f"{text}\n"))
    result["machine"] = f"{os.cpu_count()} cores"
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if given.json else told(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
