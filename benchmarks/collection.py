"""A collection to measure with: pictures of many users, their descriptions, vectors and documents.

Everything is made of one seed, so that two runs measure the same. Words follow Zipf's law, as those of a
language do; a picture is about one or two of some hundreds of topics, so that vectors lie in clusters; and
vectors are those of the offline embedder, so that a question goes the whole way that a user's goes.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.postgres import copy_vectors
from shared import embeddings, hashed_words

SHAPE = ((1, 20_000), (4, 8_000), (15, 2_000), (30, 600))
"""How many users own how many pictures: 50 users, 100,000 pictures."""
MILLION_SHAPE = ((10, 20_000), (40, 8_000), (150, 2_000), (300, 600))
"""Ten times as many users of the same sizes: 500 users, a million pictures."""
QUICK_SHAPE = ((1, 3_000), (2, 800), (3, 400), (10, 60))

VOCABULARY = 6_000
TOPICS = 400
WORDS_OF_A_TOPIC = 14
CATEGORIES = (
    "Landscape", "Portrait", "Food", "Document", "Screenshot", "Animal", "Architecture", "Vehicle", "Sport",
    "Event", "Artwork", "Medical",
)  # fmt: skip
CATEGORY_SHARES = (0.24, 0.18, 0.14, 0.12, 0.1, 0.08, 0.05, 0.04, 0.03, 0.01, 0.0095, 0.0005)
"""The first is common, the last one rare: ten of the largest user's 20,000."""
COMMON, RARE = CATEGORIES[0], CATEGORIES[-1]

_SYLLABLES = [f"{consonant}{vowel}" for consonant in "bcdfghklmnprstvw" for vowel in "aeo"]
_ENDS = ("n", "r", "l", "st", "nd", "rk", "mp", "t", "x", "m")
TABLES = ("items", "analyses", "embeddings", "search_documents")

_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """One picture, before it is a row."""

    user_id: str
    item_id: UUID
    number: int
    topic: int
    category: str
    words: Sequence[int]


class Collection:
    """The pictures, their texts and their vectors.

    Args:
        shape: how many users own how many pictures, the largest first.
    """

    def __init__(self, shape: Sequence[tuple[int, int]] = SHAPE, seed: int = 20261120) -> None:
        self.random = np.random.default_rng(seed)
        self.sizes = [size for users, size in shape for _ in range(users)]
        self.users = [f"user-{number:02}" for number in range(len(self.sizes))]
        self.vocabulary = self._vocabulary()
        # Zipf: the n-th word is 1/n as frequent as the first. Topics are made of the rarer half.
        weights = 1.0 / np.arange(1, VOCABULARY + 1)
        self.shares = weights / weights.sum()
        rarer = np.arange(VOCABULARY // 20, VOCABULARY)
        self.topics = np.stack(
            [self.random.choice(rarer, WORDS_OF_A_TOPIC, replace=False) for _ in range(TOPICS)]
        )
        self.pictures = self._pictures()

    def user_of(self, size: int) -> str:
        """Return the first user who owns so many pictures."""
        return self.users[self.sizes.index(size)]

    def _vocabulary(self) -> list[str]:
        words: dict[str, None] = {}
        while len(words) < VOCABULARY:
            parts = self.random.choice(_SYLLABLES, int(self.random.integers(2, 5)))
            words["".join(parts) + str(self.random.choice(_ENDS))] = None
        return list(words)

    def _pictures(self) -> list[Picture]:
        # Rows of one user do not lie side by side in a table that many users fill at once.
        owners = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self.random.shuffle(owners)
        count = len(owners)
        topics = self.random.integers(0, TOPICS, count)
        categories = self.random.choice(len(CATEGORIES), count, p=CATEGORY_SHARES)
        common = self.random.choice(VOCABULARY, (count, 46), p=self.shares)
        own = np.take_along_axis(
            self.topics[topics], self.random.integers(0, WORDS_OF_A_TOPIC, (count, 14)), axis=1
        )
        ids = self.random.bytes(16 * count)
        return [
            Picture(
                self.users[owners[number]],
                UUID(bytes=ids[16 * number : 16 * number + 16], version=4),
                number,
                int(topics[number]),
                CATEGORIES[categories[number]],
                [*own[number], *common[number]],
            )
            for number in range(count)
        ]

    def analysis(self, picture: Picture) -> dict[str, Any]:
        """Return what a model could have said of a picture: 1,000 characters or so."""
        words = [self.vocabulary[index] for index in picture.words]
        own, common = words[:14], words[14:]
        return {
            "category": picture.category,
            "subcategories": own[:2],
            "headline": " ".join([*own[2:6], *common[:3]]).capitalize(),
            "summary": " ".join([*own[6:11], *common[3:33]]).capitalize() + ".",
            "media_metadata": {"location_tags": common[33:34], "hashtags": own[11:12], "tagged_accounts": []},
            "image_details": {
                "objects": [*own[12:], *common[34:39]],
                "themes": common[39:42],
                "emotions": common[42:43],
                "vibes": common[43:45],
                "extracted_text": [" ".join(common[:20])] if picture.number % 5 == 0 else [],
                "key_interest": own[0],
                "likely_source": "phone photograph",
                "visual_hierarchy": own[:3],
            },
        }

    @cached_property
    def vectors(self) -> Floats:
        """The offline vector of each picture's words, as it is kept: one row of 1024 halves each."""
        features = np.zeros((VOCABULARY, embeddings.DIMENSIONS), np.float32)
        for index, word in enumerate(self.vocabulary):
            features[index] = hashed_words.embed(word)
        made = np.zeros((len(self.pictures), embeddings.DIMENSIONS), np.float32)
        for picture in self.pictures:
            indexes, counts = np.unique(picture.words, return_counts=True)
            made[picture.number] = (1 + np.log(counts)).astype(np.float32) @ features[indexes]
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return made.astype(np.float16).astype(np.float32)

    def questions(self, count: int, seed: int = 1) -> list[str]:
        """Return questions: easy ones of a topic's words, hard ones of words that stand everywhere."""
        random = np.random.default_rng(seed)
        asked = []
        for number in range(count):
            topic = self.topics[random.integers(0, TOPICS)]
            frequent = random.integers(0, 200, 3)
            if number % 3 == 0:
                words = [topic[0], topic[5], topic[9]]
            elif number % 3 == 1:
                words = [topic[3], frequent[0], frequent[1]]
            else:
                words = list(frequent)
            asked.append(" ".join(self.vocabulary[index] for index in words))
        return asked


def load(collection: Collection, connection: "psycopg.Connection[Any]") -> dict[str, float]:
    """Fill the tables, vectors by binary COPY, and build the search documents.

    Returns:
        Vectors and documents written per second, and bytes of tables with their indexes.
    """
    with connection.cursor() as cursor:
        with cursor.copy(
            "COPY items (user_id, item_id, filename, status, object_key, object_version, file_size, sha256,"
            " format, width, height, perceptual_hash, dominant_colours, captured_at, camera, image_width,"
            " image_height, thumbnail_width, thumbnail_height, analysis_version, created_at) FROM STDIN"
        ) as copy:
            for row in _items(collection):
                copy.write_row(row)
        with cursor.copy(
            "COPY analyses (user_id, item_id, version, object_version, category, headline, summary,"
            " raw_response, provider_used, model_used, prompt_hash) FROM STDIN"
        ) as copy:
            for picture in collection.pictures:
                said = collection.analysis(picture)
                copy.write_row(
                    (
                        picture.user_id, picture.item_id, 1, "v1", said["category"], said["headline"],
                        said["summary"], json.dumps(said), "offline", "measured-1", "hash",
                    )
                )  # fmt: skip
        vectors = collection.vectors  # made before the clock runs
        started = time.perf_counter()
        load_vectors(collection, cursor)
        vectors_per_second = len(vectors) / (time.perf_counter() - started)
    started = time.perf_counter()
    connection.execute("SELECT refresh_search_document(user_id, item_id) FROM items")
    documents_per_second = len(vectors) / (time.perf_counter() - started)
    sizes = {}
    for table in (*TABLES, "search_words"):
        connection.execute(f"VACUUM (ANALYZE) {table}")
        row = connection.execute("SELECT pg_total_relation_size(%s)", (table,)).fetchone()
        sizes[f"{table} MB"] = round(row[0] / 1e6) if row else 0
    return {
        "vectors/s": round(vectors_per_second),
        "documents/s": round(documents_per_second),
        **sizes,
    }


def load_vectors(collection: Collection, cursor: "psycopg.Cursor[Any]") -> None:
    """Write the vectors of all pictures."""
    halves = collection.vectors.astype(">f2")
    copy_vectors(
        cursor,
        embeddings.OFFLINE.name,
        (
            (picture.user_id, picture.item_id, halves[picture.number], f"{picture.number:064x}")
            for picture in collection.pictures
        ),
    )


def _items(collection: Collection) -> Iterator[tuple[Any, ...]]:
    random = np.random.default_rng(7)
    hashes = random.integers(-(2**63), 2**63 - 1, len(collection.pictures))
    colours = json.dumps([{"hex": "#aa3300", "share": 0.5}, {"hex": "#102030", "share": 0.5}])
    for picture in collection.pictures:
        then = _EPOCH + timedelta(minutes=7 * picture.number)
        yield (
            picture.user_id, picture.item_id, f"IMG_{picture.number:06}.jpg", "ready",
            f"{picture.user_id}/{picture.item_id}/original", "v1", 3_000_000 + picture.number,
            f"{picture.number:064x}", "JPEG", 4032, 3024, int(hashes[picture.number]), colours,
            then.replace(tzinfo=None), "Camera", 2048, 1536, 512, 384, 1, then,
        )  # fmt: skip
