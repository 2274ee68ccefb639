"""What somebody has more than once: the same bytes, pictures that look alike, texts that say the same."""

import hashlib
import io
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from PIL import Image, ImageEnhance

from cli.demo import photographs
from functions.api import duplicates, likeness
from functions.image_processor.colour import perceptual_hash
from shared import embeddings
from tests.fakes.http_api import Caller
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]

FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def add(db: Database, owner: str, day: float, content: str, bits: int | None = None, **more: Any) -> str:
    """Put a picture into the database: its age, what its bytes are, what it looks like."""
    signed = bits if bits is None or bits < 2**63 else bits - 2**64
    vector = more.pop("vector", None)
    return picture(
        db,
        owner,
        more.pop("headline", "A picture"),
        vector=vector,
        sha256=sha256(content),
        perceptual_hash=signed,
        created_at=FIRST + timedelta(days=day),
        **more,
    )


def towards(*numbers: float) -> list[float]:
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers] + [0.0] * (1024 - len(numbers))


def listed(caller: Caller, **query: Any) -> list[tuple[str, list[str]]]:
    """Return all groups of all pages: each with its reason and its items."""
    groups: list[tuple[str, list[str]]] = []
    cursor: dict[str, str] = {}
    for _ in range(60):
        answer = caller.get("/duplicates", **query, **cursor)
        assert answer.status == 200, answer.body
        assert len(answer.body["groups"]) <= query.get("limit", 20)
        groups += [
            (group["reason"], [item["item_id"] for item in group["items"]]) for group in answer.body["groups"]
        ]
        if answer.body["next_cursor"] is None:
            return groups
        cursor = {"cursor": answer.body["next_cursor"]}
    raise AssertionError("the pages have no end")


LOOK = 0x0F0F_3333_5555_9999
AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
OTHER_LOOK = 0x7777_1234_ABCD_0246


def test_copies_are_grouped_by_what_they_have_in_common(alice: Caller, db: Database) -> None:
    first = add(db, "alice", 0, "a", LOOK, filename="first.jpg", vector=towards(1, 0))
    again = add(db, "alice", 5, "a", LOOK, vector=towards(1, 0))
    smaller = add(db, "alice", 2, "b", LOOK ^ 0b111, vector=towards(0, 1))
    told_alike = add(db, "alice", 3, "c", OTHER_LOOK, vector=towards(1, 0.1))
    add(db, "alice", 4, "d", ~LOOK & 2**64 - 1, vector=towards(1, 1))
    answer = alice.get("/duplicates")
    assert answer.status == 200
    assert answer.body["next_cursor"] is None
    assert answer.body["notes"] == []
    exact, perceptual, embedding = answer.body["groups"]
    assert [group["reason"] for group in (exact, perceptual, embedding)] == [
        "exact",
        "perceptual",
        "embedding",
    ]
    assert [item["item_id"] for item in exact["items"]] == [first, again]
    assert (exact["count"], exact["complete"], exact["distance"], exact["similarity"]) == (2, True, 0, None)
    assert [item["item_id"] for item in perceptual["items"]] == [first, smaller, again]
    assert [item["distance"] for item in perceptual["items"]] == [0, 3, 0]
    assert (perceptual["distance"], perceptual["similarity"]) == (3, None)
    assert [item["item_id"] for item in embedding["items"]] == [first, told_alike, again]
    assert embedding["similarity"] == pytest.approx(1 / 1.01**0.5, abs=1e-3)
    assert embedding["distance"] is None
    shown = exact["items"][0]
    assert shown["filename"] == "first.jpg"
    assert f"/alice/thumbnails/{first}.webp?" in shown["thumbnail_url"]
    for reason in duplicates.REASONS:
        (only,) = alice.get("/duplicates", by=reason).body["groups"]
        assert only["reason"] == reason


def test_pages_hold_every_group_once_the_newest_first(alice: Caller, db: Database) -> None:
    pairs = []
    for number in range(7):
        look = random.Random(number).getrandbits(64)  # noqa: S311 - no secret
        pairs.append(
            [
                add(
                    db,
                    "alice",
                    number + part * 20,
                    f"{number} {part % 2}",
                    look,
                    vector=towards(1, number * 9),
                )
                for part in range(3)
            ]
        )
    newest_first = pairs[::-1]
    for limit in (1, 3, 20):
        assert listed(alice, by="exact", limit=limit) == [("exact", [a, c]) for a, _, c in newest_first]
        assert listed(alice, by="perceptual", limit=limit) == [("perceptual", pair) for pair in newest_first]
    together = listed(alice, limit=4)
    assert [reason for reason, _ in together[:14]] == ["exact"] * 7 + ["perceptual"] * 7
    assert {reason for reason, _ in together[14:]} == {"embedding"}


def test_groups_by_hash_are_those_that_all_pairs_would_give(alice: Caller, db: Database) -> None:
    dice = random.Random(7)  # noqa: S311 - no secret
    hashes: list[int] = []
    for _ in range(40):
        look = dice.getrandbits(64)
        for _ in range(dice.randint(1, 4)):
            hashes.append(look)
            for bit in dice.sample(range(64), dice.randint(0, 11)):
                look ^= 1 << bit
    dice.shuffle(hashes)
    made = [add(db, "alice", number, str(number), value) for number, value in enumerate(hashes)]
    near = {
        one: {
            other
            for other in range(len(made))
            if (hashes[one] ^ hashes[other]).bit_count() <= likeness.MOST_BITS
        }
        for one in range(len(made))
    }
    expected = {frozenset(made[each] for each in group) for group in joined(near)}
    assert len(expected) > 5
    groups = listed(alice, by="perceptual", limit=3)
    assert {frozenset(items) for _, items in groups} == expected
    assert len(groups) == len(expected)


def joined(near: dict[int, set[int]]) -> set[frozenset[int]]:
    """Return the groups of several that come of what is near to each."""
    groups = set()
    for found in near.values():
        while (grown := set().union(*(near[each] for each in found))) != found:
            found = grown
        groups.add(frozenset(found))
    return {group for group in groups if len(group) > 1}


def test_groups_by_vector_are_those_that_all_pairs_would_give(alice: Caller, db: Database) -> None:
    dice = random.Random(3)  # noqa: S311 - no secret
    vectors = [
        [dice.gauss(0, 1) + spread * dice.gauss(0, 1) for _ in range(4)]
        for spread in (0.0, 0.5)
        for _ in range(20)
    ]
    vectors += [[value + dice.gauss(0, 0.2) for value in vector] for vector in vectors]
    units = [towards(*vector)[:4] for vector in vectors]
    made = [
        add(db, "alice", number % 9, str(number), vector=towards(*vector))
        for number, vector in enumerate(vectors)
    ]
    near = {
        one: {
            other
            for other in range(len(made))
            if sum(a * b for a, b in zip(units[one], units[other], strict=True)) >= duplicates.SAME_SIMILARITY
        }
        for one in range(len(made))
    }
    expected = {frozenset(made[each] for each in group) for group in joined(near)}
    assert len(expected) > 3
    groups = listed(alice, by="embedding", limit=2)
    assert {frozenset(items) for _, items in groups} == expected
    assert len(groups) == len(expected)


def test_a_page_that_runs_out_of_time_goes_on_with_the_next(
    alice: Caller, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        add(db, "alice", number, str(number), vector=towards(*AXES[number % 3]))
    monkeypatch.setattr(duplicates, "MOST_ITEMS", 1000)
    whole = listed(alice, by="embedding")
    assert len(whole) == 3
    monkeypatch.setattr(duplicates, "SECONDS", -1.0)
    answer = alice.get("/duplicates", by="embedding")
    assert answer.body["next_cursor"]
    assert answer.body["notes"] == ["not everything was looked at in time: the next page goes on"]
    assert listed(alice, by="embedding") == whole


def test_a_great_group_is_cut_off_and_says_so(
    alice: Caller, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        add(db, "alice", number, str(number), LOOK, vector=towards(1, 0))
    (group,) = alice.get("/duplicates", by="perceptual").body["groups"]
    assert (group["count"], len(group["items"]), group["complete"]) == (30, 25, True)
    monkeypatch.setattr(duplicates, "MOST_ITEMS", 10)
    (group,) = alice.get("/duplicates", by="embedding").body["groups"]
    assert 10 <= group["count"] <= 11
    assert not group["complete"]


def test_what_says_nothing_or_cannot_be_shown_is_in_no_group(alice: Caller, db: Database) -> None:
    for number, plain in enumerate((0, 0, 1, 2**64 - 1, 2**64 - 1)):
        add(db, "alice", number, str(number), plain)
    for number in range(2):
        add(db, "alice", number, "same", LOOK, status="rejected", vector=towards(1, 0))
    add(db, "alice", 3, "another", LOOK ^ 1, vector=towards(1, 0))
    assert listed(alice) == []


def test_nobody_sees_what_another_has_twice(alice: Caller, db: Database) -> None:
    hers = [add(db, "alice", number, "same", LOOK, vector=towards(1, 0)) for number in range(2)]
    bob = Caller("bob", alice.client_id)
    add(db, "bob", 0, "same", LOOK, vector=towards(1, 0))
    add(db, "bob", 1, "other", OTHER_LOOK, vector=towards(0, 1))
    assert listed(bob) == []
    assert listed(alice) == [("exact", hers)]


def test_a_cursor_belongs_to_one_listing_of_one_user(alice: Caller, db: Database) -> None:
    for number in range(4):
        add(db, "alice", number, str(number // 2), LOOK)
        add(db, "bob", number, str(number // 2), LOOK)
    cursor = alice.get("/duplicates", by="exact", limit=1).body["next_cursor"]
    assert cursor
    assert alice.get("/duplicates", by="exact", limit=5, cursor=cursor).status == 200
    for query in ({"by": "perceptual"}, {}):
        assert alice.get("/duplicates", **query, cursor=cursor).status == 400
    assert Caller("bob", alice.client_id).get("/duplicates", by="exact", cursor=cursor).status == 400
    for forged in ("", "x", "e30", cursor[:-2], "W10", "🙂", "\x00"):
        assert alice.get("/duplicates", by="exact", cursor=forged).status == 400, forged
    for wrong in ({"by": "colour"}, {"limit": 0}, {"limit": 101}):
        assert alice.get("/duplicates", **wrong).status == 422


def test_no_statement_reads_what_others_have(alice: Caller, db: Database) -> None:
    add(db, "alice", 0, "a", LOOK, vector=towards(1, 0))
    db.execute(
        """
        INSERT INTO items (user_id, item_id, filename, object_key, status, sha256, perceptual_hash)
        SELECT 'user ' || number % 40, gen_random_uuid(), 'a.jpg', '', 'ready', number::text, number
          FROM generate_series(1, 4000) AS number
        """
    )
    db.execute(
        """
        INSERT INTO embeddings (user_id, item_id, model, dimensions, embedding, analysis_version, source_hash)
        SELECT user_id, item_id, %s, 1024, %s::halfvec, 1, '' FROM items WHERE user_id <> 'alice'
        """,
        (embeddings.OFFLINE.name, embeddings.halfvec(towards(0, 1))),
    )
    db.execute(
        """
        INSERT INTO analyses (user_id, item_id, version, category, headline, summary, raw_response,
                              provider_used, model_used, prompt_hash)
        SELECT user_id, item_id, 1, 'photo', '', '', '{}', '', '', '' FROM items WHERE user_id <> 'alice'
        """
    )
    for table in ("items", "embeddings", "analyses"):
        db.execute(f"VACUUM ANALYZE {table}")
    (row,) = db.execute("SELECT item_id FROM items WHERE user_id = 'alice'").fetchall()
    values = {
        "user_id": "alice",
        "searchable": ["ready"],
        "newest": None,
        "newest_id": None,
        "limit": 21,
        "least": 0.95,
        "most": 100,
        "item_ids": [row["item_id"]],
        "first_ids": [row["item_id"]],
    }
    for statement in (
        duplicates.EXACT,
        duplicates.HASHED,
        duplicates.EMBEDDED,
        duplicates.NEAR,
        duplicates.SHOWN,
    ):
        rows = db.execute("EXPLAIN (ANALYZE, COSTS OFF) " + statement, values).fetchall()
        plan = "\n".join(str(row["QUERY PLAN"]) for row in rows)
        for table in ("items", "analyses", "embeddings"):
            assert f"Seq Scan on {table}" not in plan, plan
        if statement == duplicates.NEAR:
            assert "Index Only Scan using embeddings_exact on embeddings others" in plan


def test_real_edits_are_near_and_other_photographs_are_not() -> None:
    """The figures that `likeness.MOST_BITS` was chosen by."""
    pictures = [thumbnail(Image.open(path)) for path in photographs()]
    assert len(pictures) >= 10
    hashes = [perceptual_hash(each) for each in pictures]
    for one in range(len(hashes)):
        for other in range(one):
            assert likeness.distance(hashes[one], hashes[other]) > likeness.MOST_BITS
    near = {
        name: sum(
            likeness.distance(value, perceptual_hash(thumbnail(edit(each)))) <= likeness.MOST_BITS
            for each, value in zip(pictures, hashes, strict=True)
        )
        / len(pictures)
        for name, edit in EDITS.items()
    }
    assert min(near[name] for name in ("smaller", "quality 60", "lighter", "darker")) >= 0.95, near
    assert near["cut by 2 %"] >= 0.85, near


def thumbnail(image: Image.Image) -> Image.Image:
    small = image.convert("RGB")
    small.thumbnail((512, 512), Image.Resampling.LANCZOS)
    return small


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def cut(image: Image.Image, share: float) -> Image.Image:
    x, y = int(image.width * share / 2), int(image.height * share / 2)
    return image.crop((x, y, image.width - x, image.height - y))


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda image: image.resize((image.width // 2, image.height // 2)),
    "quality 60": lambda image: saved(image, 60),
    "lighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "cut by 2 %": lambda image: cut(image, 0.02),
}
