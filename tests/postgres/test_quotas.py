"""Quotas: what somebody may have is never passed, whoever asks at once, and the counters are the truth."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from functions.api import retry
from functions.eraser import rows
from shared import database, erasures, ledger, profiles, quotas
from shared.erasures import AccountDeletedError
from shared.ledger import Charge
from shared.quotas import DEPLOYMENT, OverQuotaError
from tests.fakes.http_api import Answer, Caller, assert_problem
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]

ROOT = Path(__file__).resolve().parents[2]

MINUTE = timedelta(minutes=1)
CENT = Decimal("0.01")
AT_ONCE = 100
ROUNDS = 100
WORKERS = 8


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    return function_env("Api", EMBEDDER="offline", MODEL_BUDGET_USD="100")


def may(db: Database, user_id: str, **limits: Any) -> None:
    """Give somebody limits."""
    db.execute(
        "INSERT INTO user_profiles (user_id, subscription_tier, usage_limits) VALUES (%s, 'free', %s)"
        " ON CONFLICT (user_id) DO UPDATE SET usage_limits = excluded.usage_limits",
        (user_id, json.dumps(limits)),
    )


def used(db: Database, user_id: str, meter: str, period: str = "") -> Decimal:
    row = db.execute(
        "SELECT used FROM usage_counters WHERE user_id = %s AND meter = %s AND period = %s",
        (user_id, meter, period),
    ).fetchone()
    return row["used"] if row else Decimal(0)


def spent(db: Database, user_id: str) -> Decimal:
    return used(db, user_id, "model_usd", quotas.period(datetime.now(UTC)))


def charge(user_id: str, usd: Decimal) -> Charge:
    return Charge(user_id, None, "analyzer", "anthropic", "claude", 1, float(usd))


# The edge


@pytest.fixture
def everybody(
    database_url: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ThreadPoolExecutor]:
    """Threads that each have a connection of their own, as functions have on Lambda."""
    own, opened = threading.local(), []

    def connection() -> Any:
        if not hasattr(own, "connection"):
            own.connection = database.connect(database_url)
            opened.append(own.connection)
        return own.connection

    monkeypatch.setattr(database, "connection", connection)
    with ThreadPoolExecutor(WORKERS) as pool:
        yield pool
    for each in opened:
        each.close()


def granted(ask: Callable[[int], object], number: int) -> bool:
    try:
        ask(number)
    except OverQuotaError:
        return False
    return True


def test_a_hundred_at_once_never_pass_a_limit_of_what_stands(
    everybody: ThreadPoolExecutor, db: Database
) -> None:
    may(db, "alice", items=1000)
    random = Random(20261120)  # noqa: S311 - nothing secret

    def ask(_: int) -> None:
        with database.transaction() as cursor:
            quotas.reserve(cursor, "alice", "items", 1)

    for _ in range(ROUNDS):
        room = random.randrange(1, AT_ONCE)
        db.execute("DELETE FROM usage_counters")
        if room < 50:  # else the counter is not there yet, and the first of all makes it
            db.execute("INSERT INTO usage_counters VALUES ('alice', 'items', '', %s)", (1000 - room,))
        else:
            may(db, "alice", items=room)
        assert sum(everybody.map(lambda n: granted(ask, n), range(AT_ONCE))) == room
        may(db, "alice", items=1000)
        assert used(db, "alice", "items") == (1000 if room < 50 else room)


def test_a_hundred_at_once_never_pass_a_budget_of_a_user_or_of_all(
    everybody: ThreadPoolExecutor, db: Database
) -> None:
    month = quotas.period(datetime.now(UTC))
    random = Random(6)  # noqa: S311 - nothing secret

    def ask(number: int) -> None:
        quotas.reserve_money(f"user-{number % 4}", "analyzer", CENT, MINUTE)

    for _ in range(ROUNDS):
        db.execute("DELETE FROM quota_reservations")
        db.execute("DELETE FROM usage_counters")
        rooms = [random.randrange(1, 25) for _ in range(4)]
        for number, room in enumerate(rooms):
            may(db, f"user-{number}", model_usd_per_month=room / 100)
        shared = random.randrange(1, AT_ONCE)
        db.execute(
            "INSERT INTO usage_counters VALUES ('*', 'model_usd', %s, %s)", (month, 100 - shared * CENT)
        )
        taken = sum(everybody.map(lambda n: granted(ask, n), range(AT_ONCE)))
        assert taken == min(shared, sum(rooms))
        assert spent(db, DEPLOYMENT) == 100 - (shared - taken) * CENT
        each = [spent(db, f"user-{number}") for number in range(4)]
        assert sum(each) == taken * CENT
        assert all(spent <= room * CENT for spent, room in zip(each, rooms, strict=True))


# Money


def test_a_reservation_counts_until_the_call_is_paid_for(environment: dict[str, str], db: Database) -> None:
    held = quotas.reserve_money("alice", "analyzer", Decimal("0.5"), MINUTE)
    assert (spent(db, "alice"), spent(db, DEPLOYMENT)) == (Decimal("0.5"), Decimal("0.5"))
    with database.transaction() as cursor:
        ledger.charge(cursor, [charge("alice", Decimal("0.2"))])
        quotas.free(cursor, "alice", held)
    assert (spent(db, "alice"), spent(db, DEPLOYMENT)) == (Decimal("0.2"), Decimal("0.2"))
    quotas.release("alice", held)  # it is gone already
    assert spent(db, "alice") == Decimal("0.2")


def test_a_call_that_never_happened_costs_nothing(environment: dict[str, str], db: Database) -> None:
    quotas.release("alice", quotas.reserve_money("alice", "analyzer", CENT, MINUTE))
    assert (spent(db, "alice"), spent(db, DEPLOYMENT)) == (0, 0)


def test_what_nobody_gave_back_expires(environment: dict[str, str], db: Database) -> None:
    quotas.reserve_money("alice", "analyzer", CENT, timedelta(0))
    quotas.reserve_money("bob", "analyzer", CENT, timedelta(0))
    quotas.reserve_money("bob", "analyzer", CENT, MINUTE)
    assert quotas.expire() == 2
    assert (spent(db, "alice"), spent(db, "bob"), spent(db, DEPLOYMENT)) == (0, CENT, CENT)
    assert quotas.expire() == 0


def test_what_is_just_given_back_is_not_waited_for(
    environment: dict[str, str], db: Database, database_url: str
) -> None:
    """Whoever frees holds a reservation and wants the counters; who expires them, the other way round."""
    held = quotas.reserve_money("alice", "analyzer", CENT, timedelta(0))
    with database.connect(database_url) as other, other.transaction():
        other.execute(
            "SELECT FROM quota_reservations WHERE user_id = 'alice' AND reservation_id = %s FOR UPDATE",
            (held,),
        )
        assert quotas.expire() == 0
    assert quotas.expire() == 1


@pytest.mark.parametrize("first", ["charge", "free"])
def test_freeing_late_and_expiring_at_once_never_wait_in_a_ring(
    everybody: ThreadPoolExecutor, db: Database, first: str
) -> None:
    def settle(user_id: str) -> None:
        held = quotas.reserve_money(user_id, "analyzer", CENT, timedelta(0))
        with database.transaction() as cursor:
            steps = [
                lambda: ledger.charge(cursor, [charge(user_id, CENT)]),
                lambda: quotas.free(cursor, user_id, held),
            ]
            for step in steps if first == "charge" else reversed(steps):
                step()

    work: list[Callable[[], object]] = [
        each
        for number in range(40)
        for each in (lambda number=number: settle(f"user-{number % 3}"), quotas.expire)  # type: ignore[misc]
    ]
    for done in [everybody.submit(each) for each in work]:
        done.result()
    assert spent(db, DEPLOYMENT) == 40 * CENT
    assert sum(spent(db, f"user-{number}") for number in range(3)) == 40 * CENT


def test_both_months_have_room_for_a_call_that_may_end_in_the_next(
    environment: dict[str, str], db: Database
) -> None:
    now = datetime.now(UTC)
    this, following = quotas.period(now), quotas.period(quotas.next_month(now))
    may(db, "alice", model_usd_per_month=1)
    held = quotas.reserve_money("alice", "analyzer", CENT, timedelta(days=31))
    for owner in ("alice", DEPLOYMENT):
        assert [used(db, owner, "model_usd", month) for month in (this, following)] == [CENT, CENT]
    with database.transaction() as cursor:
        ledger.charge(cursor, [charge("alice", CENT)])
        quotas.free(cursor, "alice", held)
    for owner in ("alice", DEPLOYMENT):
        assert [used(db, owner, "model_usd", month) for month in (this, following)] == [CENT, 0]
    db.execute("INSERT INTO usage_counters VALUES ('bob', 'model_usd', %s, 1)", (following,))
    may(db, "bob", model_usd_per_month=1)
    with pytest.raises(OverQuotaError):
        quotas.reserve_money("bob", "analyzer", CENT, timedelta(days=31))
    assert used(db, "bob", "model_usd", this) == 0
    assert db.execute("SELECT FROM quota_reservations").fetchall() == []


def test_a_month_begins_with_nothing_used(environment: dict[str, str], db: Database) -> None:
    may(db, "alice", model_usd_per_month=1)
    db.execute("INSERT INTO usage_counters VALUES ('alice', 'model_usd', '2020-01', 1)")
    quotas.reserve_money("alice", "analyzer", Decimal(1), MINUTE)
    with pytest.raises(OverQuotaError) as caught:
        quotas.reserve_money("alice", "analyzer", CENT, MINUTE)
    assert caught.value.resets_at == quotas.next_month(datetime.now(UTC))


@pytest.mark.parametrize("budget", ["0", "1"])
def test_where_all_is_used_not_even_a_call_of_unknown_price_is_made(
    function_env: Callable[..., dict[str, str]], db: Database, budget: str
) -> None:
    function_env("Api", MODEL_BUDGET_USD=budget)
    if budget == "1":
        quotas.reserve_money("alice", "analyzer", Decimal(0), MINUTE)
        quotas.reserve_money("bob", "analyzer", Decimal(1), MINUTE)
    with pytest.raises(OverQuotaError) as caught:
        quotas.reserve_money("alice", "analyzer", Decimal(0), MINUTE)
    assert caught.value.owner == DEPLOYMENT


def test_nothing_is_reserved_for_who_is_erased(environment: dict[str, str], db: Database) -> None:
    with database.transaction() as cursor:
        erasures.begin(cursor, "alice", uuid4())
    with pytest.raises(AccountDeletedError):
        quotas.reserve_money("alice", "analyzer", CENT, MINUTE)
    assert spent(db, DEPLOYMENT) == 0


def test_fractions_of_a_nanodollar_are_rounded_up(environment: dict[str, str], db: Database) -> None:
    quotas.reserve_money("alice", "embedder", Decimal("0.0000000001"), MINUTE)
    assert spent(db, "alice") == Decimal("0.000000001")


# Limits


def test_who_has_no_profile_has_the_limits_of_the_default_tier(
    function_env: Callable[..., dict[str, str]], db: Database
) -> None:
    function_env("Api", DEFAULT_TIER="plus")
    standing = {each.meter: each for each in quotas.standing("alice")}
    assert (standing["items"].limit, standing["model_usd"].limit) == (50000, 25)
    assert {each.used for each in standing.values()} == {0}
    assert [each.meter for each in standing.values() if each.resets_at] == ["model_usd"]


def test_a_limit_that_is_null_is_none_and_one_that_is_missing_is_the_default_tier_s(
    environment: dict[str, str], db: Database
) -> None:
    may(db, "alice", items=None, scans=0)
    with database.transaction() as cursor:
        assert quotas.limit_of(cursor, "alice", "items") is None
        assert quotas.limit_of(cursor, "alice", "scans") == 0
        assert quotas.limit_of(cursor, "alice", "storage_bytes") == 10737418240
        quotas.reserve(cursor, "alice", "items", 10**9)
        with pytest.raises(OverQuotaError):
            quotas.reserve(cursor, "alice", "scans", 1)
        quotas.reserve(cursor, "alice", "storage_bytes", 1)  # the transaction goes on
    assert used(db, "alice", "items") == 10**9


@pytest.mark.parametrize(
    "wrong", [{"item": 5}, {"items": "5"}, {"items": -1}, {"items": True}, {"scans": {}}, [], 5]
)
def test_limits_that_are_none_cannot_be_written(
    environment: dict[str, str], db: Database, wrong: Any
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute(
            "INSERT INTO user_profiles (user_id, subscription_tier, usage_limits) VALUES ('u', 'free', %s)",
            (json.dumps(wrong),),
        )


def test_a_lower_limit_stops_what_is_new_and_takes_nothing_away(
    environment: dict[str, str], db: Database
) -> None:
    may(db, "alice", items=5)
    with database.transaction() as cursor:
        quotas.reserve(cursor, "alice", "items", 5)
        quotas.adjust(cursor, "alice", "items", 2)  # came without asking
    may(db, "alice", items=3)
    with pytest.raises(OverQuotaError) as caught, database.transaction() as cursor:
        quotas.reserve(cursor, "alice", "items", 1)
    assert (caught.value.used, caught.value.limit, caught.value.resets_at) == (7, 3, None)
    with database.transaction() as cursor:
        quotas.adjust(cursor, "alice", "items", -100)
    assert used(db, "alice", "items") == 0


def test_the_budget_is_the_deployment_s_and_nothing_else_of_it(
    environment: dict[str, str], db: Database
) -> None:
    db.execute("INSERT INTO usage_counters VALUES ('*', 'items', '', 5)")
    quotas.reserve_money("alice", "analyzer", CENT, MINUTE)
    assert (quotas.budget().used, quotas.budget().limit) == (CENT, 100)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            ("alice", "items", 2000, 1950, 100),
            "You have 1,950 of 2,000 items, and 100 more do not fit. Delete some, or move to a larger plan.",
        ),
        (
            ("alice", "scans", 3, 3, 1),
            "You have 3 of 3 scans, and one more does not fit. Delete one, or move to a larger plan.",
        ),
        (
            ("alice", "storage_bytes", 10737418240, 10737000000, 999),
            "You have 10.7 GB of 10.7 GB of storage, and 999 bytes more do not fit. "
            "Delete some items, or move to a larger plan.",
        ),
        (
            ("alice", "model_usd", 2, "1.99", "0.0213"),
            "Of $2.00 for asking models this month, $1.99 are used, and another call may cost $0.021. "
            "It begins anew on 1 January 2027; until then a larger plan helps.",
        ),
        (
            (DEPLOYMENT, "model_usd", 100, 100, 1),
            "The budget that everybody here shares for asking models is used up. "
            "It begins anew on 1 January 2027; nothing of yours is lost.",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(error: Any, sentence: str) -> None:
    owner, meter, *amounts = error
    now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    assert OverQuotaError(owner, meter, *map(Decimal, amounts), now).sentence == sentence


# The API


def refusal(answer: Answer) -> tuple[str, float, float, float]:
    """What a refusal says: meter, limit, used, wanted."""
    assert_problem(answer, 429, "over-quota")
    return tuple(answer.body[name] for name in ("meter", "limit", "used", "wanted"))  # type: ignore[return-value]


def photo(size: int | None = None) -> dict[str, Any]:
    return {"filename": "a.jpg", **({"size": size} if size else {})}


def photos(*sizes: int | None) -> dict[str, Any]:
    return {"items": [photo(size) for size in sizes]}


def test_whoever_has_no_room_for_another_item_hears_what_and_how_much(alice: Caller, db: Database) -> None:
    may(db, "alice", items=2)
    assert [alice.post("/items", photo()).status for _ in range(2)] == [201, 201]
    answer = alice.post("/items", photo())
    assert refusal(answer) == ("items", 2, 2, 1)
    assert answer.body["detail"] == (
        "You have 2 of 2 items, and one more does not fit. Delete some, or move to a larger plan."
    )
    assert answer.body["resets_at"] is None
    assert "retry-after" not in answer.headers  # waiting does not help
    assert len(alice.get("/items").body["items"]) == 2
    first = alice.get("/items").body["items"][0]["item_id"]
    assert alice.delete(f"/items/{first}").status == 204
    assert alice.post("/items", photo()).status == 201


def test_of_several_items_all_fit_or_none_is_made(alice: Caller, db: Database) -> None:
    may(db, "alice", items=99)
    assert refusal(alice.post("/items", photos(*[None] * 100))) == ("items", 99, 0, 100)
    assert alice.get("/items").body["items"] == []
    assert used(db, "alice", "items") == 0
    assert alice.post("/items", photos(*[None] * 99)).status == 201
    assert used(db, "alice", "items") == 99


def test_a_request_that_is_sent_again_asks_for_no_more_room(alice: Caller, db: Database) -> None:
    may(db, "alice", items=2, storage_bytes=10)
    wanted = photos(4, 6)
    first = alice.post("/items", wanted, idempotency_key="k").body
    database.fetch_one("SELECT 1", {})
    again = alice.post("/items", wanted, idempotency_key="k")
    assert [item["item_id"] for item in again.body["items"]] == [item["item_id"] for item in first["items"]]
    assert (used(db, "alice", "items"), used(db, "alice", "storage_bytes")) == (2, 10)


def test_a_request_that_was_forgotten_finds_its_items_without_more_room(
    alice: Caller, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    may(db, "alice", items=1)
    monkeypatch.setattr(retry, "once", lambda run, **_: run())  # the cheap net has lost it
    first = alice.post("/items", photo(), idempotency_key="k").body["item_id"]
    assert alice.post("/items", photo(), idempotency_key="k").body["item_id"] == first
    assert used(db, "alice", "items") == 1


def test_what_is_said_of_a_size_holds_its_room(alice: Caller, db: Database) -> None:
    may(db, "alice", storage_bytes=1000)
    assert alice.post("/items", photo(999)).status == 201
    assert refusal(alice.post("/items", photo(2))) == ("storage_bytes", 1000, 999, 2)
    assert used(db, "alice", "items") == 1  # the item that did not fit was not counted either
    assert alice.post("/items", photo()).status == 201  # nobody knows how large it is
    row = db.execute("SELECT counted, counted_bytes FROM items ORDER BY created_at LIMIT 1").fetchone()
    assert row == {"counted": True, "counted_bytes": 999}


def test_nobody_has_more_scans_than_they_may(alice: Caller, db: Database) -> None:
    new = {"name": "scan", "work": {"check": "objects"}, "schedule": {"every": "day", "at": "03:00"}}
    may(db, "alice", scans=1)
    made = alice.post("/scans", new, idempotency_key="k")
    assert made.status == 201
    assert alice.post("/scans", new, idempotency_key="k").status == 201
    assert refusal(alice.post("/scans", new)) == ("scans", 1, 1, 1)
    assert alice.delete(f"/scans/{made.body['scan_id']}").status == 204
    assert alice.post("/scans", new).status == 201
    assert used(db, "alice", "scans") == 1


def imported(number: int, image: int | None = None) -> dict[str, Any]:
    said = {"id": str(uuid4()), "version": 1, "category": "Old", "summary": "An old view.", "model_used": "m"}
    row = {"item": {"id": str(UUID(int=number)), "filename": f"{number}.jpg"}, "analyses": [said]}
    return row | ({"image": {"size": image, "sha256": f"{number:064x}"}} if image else {})


def test_rows_of_an_import_that_do_not_fit_are_refused_each_for_itself(alice: Caller, db: Database) -> None:
    may(db, "alice", items=3, storage_bytes=100)
    path = f"/imports/{alice.post('/imports', {'fingerprint': 'ab' * 32, 'name': 'old'}).body['import_id']}"
    rows = [imported(1, 60), imported(2, 60), imported(3), imported(4, 40), imported(5)]
    told = alice.post(f"{path}/items", {"items": rows}).body["items"]
    assert [row["status"] for row in told] == ["imported", "refused", "imported", "imported", "refused"], told
    assert [row["code"] for row in told] == [None, "over_quota", None, None, "over_quota"]
    assert told[1]["message"].startswith("You have 60 bytes of 100 bytes of storage, and 60 bytes more")
    assert told[4]["message"].startswith("You have 3 of 3 items")
    assert (used(db, "alice", "items"), used(db, "alice", "storage_bytes")) == (3, 100)
    assert alice.get(path).body["items"]["total"] == 3
    # The second time what was taken is there, and what was not is refused again.
    again = alice.post(f"{path}/items", {"items": rows}).body["items"]
    assert [row["status"] for row in again] == [row["status"] for row in told]
    assert used(db, "alice", "items") == 3
    may(db, "alice", items=None, storage_bytes=None)
    assert {row["status"] for row in alice.post(f"{path}/items", {"items": rows}).body["items"]} == {
        "imported"
    }
    assert (used(db, "alice", "items"), used(db, "alice", "storage_bytes")) == (5, 160)
    assert alice.post(f"{path}/undo").body == {"removed": 5, "left": 0}
    assert (used(db, "alice", "items"), used(db, "alice", "storage_bytes")) == (0, 0)


EVERYTHING = {"select": {"all": True}}
PAID_FOR = [
    ("/items/ITEM/analyze", None),
    ("/items/ITEM/analyze", {"provider": "anthropic"}),
    ("/items/reprocess", EVERYTHING),
    ("/items/reprocess", EVERYTHING | {"stages": ["analyze"]}),
    ("/failed/replay", {}),
]
FREE = [
    ("/items/ITEM/analyze", {"provider": "offline"}),
    ("/items/ITEM/embed", None),  # vectors are made offline here
    ("/items/ITEM/resize-only", None),
    ("/items/reprocess", EVERYTHING | {"dry_run": True}),
    ("/items/reprocess", EVERYTHING | {"stages": ["process", "embed"]}),
    ("/vector-index/rebuild", {}),
]


def ask(caller: Caller, db: Database, path: str, body: Any) -> Answer:
    found = db.execute("SELECT item_id FROM items WHERE user_id = %s", (caller.user_id,)).fetchone()
    item_id = str(found["item_id"]) if found else picture(db, caller.user_id)
    db.execute("UPDATE scan_runs SET finished_at = now()")  # so that there are not too many at a time
    return caller.post(path.replace("ITEM", item_id), body)


def spend(db: Database, user_id: str, usd: str, ago: timedelta = timedelta(0)) -> None:
    db.execute(
        "INSERT INTO usage_ledger (user_id, stage, provider, model, cost_usd, occurred_at)"
        " VALUES (%s, 'analyzer', 'p', 'm', %s, now() - %s)",
        (user_id, Decimal(usd), ago),
    )


def test_what_a_model_is_paid_for_is_refused_when_the_month_is_used_up(alice: Caller, db: Database) -> None:
    may(db, "alice", model_usd_per_month=2)
    spend(db, "alice", "1.999")
    for path, body in PAID_FOR:
        assert ask(alice, db, path, body).status == 202, path
    spend(db, "alice", "0.001")
    for path, body in PAID_FOR:
        answer = ask(alice, db, path, body)
        assert refusal(answer) == ("model_usd", 2.0, 2.0, 0.0), path
        resets_at = datetime.fromisoformat(answer.body["resets_at"])
        assert resets_at == quotas.next_month(datetime.now(UTC))
        waits = int(answer.headers["retry-after"])
        assert 0 < waits - (resets_at - datetime.now(UTC)).total_seconds() < 60
    for path, body in FREE:
        assert ask(alice, db, path, body).status == 202, path


def test_the_shared_budget_stops_everybody_and_says_nothing_of_others(
    function_env: Callable[..., dict[str, str]], alice: Caller, bob: Caller, db: Database
) -> None:
    function_env("Api", EMBEDDER="offline", MODEL_BUDGET_USD="1")
    spend(db, "bob", "1")
    answer = ask(alice, db, "/items/ITEM/analyze", None)
    assert refusal(answer) == ("deployment", None, None, 0.0)
    assert answer.body["detail"].startswith("The budget that everybody here shares")


def test_a_rebuild_of_vectors_that_are_paid_for_is_refused_too(
    function_env: Callable[..., dict[str, str]], alice: Caller, db: Database, aws: Any
) -> None:
    environment = function_env("Api", EMBEDDER="auto")
    aws.put_parameter(environment["VOYAGE_KEY_PARAMETER"], "pa-test")
    may(db, "alice", model_usd_per_month=1)
    spend(db, "alice", "1")
    for path, body in (("/items/ITEM/embed", None), ("/vector-index/rebuild", {})):
        assert refusal(ask(alice, db, path, body))[0] == "model_usd"


def test_where_nobody_is_paid_nothing_is_refused(
    function_env: Callable[..., dict[str, str]], alice: Caller, db: Database
) -> None:
    function_env("Api", EMBEDDER="offline", MODEL_BUDGET_USD="0")
    may(db, "alice", model_usd_per_month=0)
    for path, body in PAID_FOR[:1] + PAID_FOR[2:]:
        assert ask(alice, db, path, body).status == 202, path


def test_usage_tells_what_is_used_of_what_may_be(alice: Caller, db: Database) -> None:
    may(db, "alice", items=5, storage_bytes=None, model_usd_per_month=2)
    alice.post("/items", photo(7))
    spend(db, "alice", "0.5")
    quotas.reserve_money("alice", "analyzer", Decimal("0.25"), MINUTE)
    body = alice.get("/usage").body
    assert body["limits"]["items"] == {"limit": 5, "used": 1, "resets_at": None}
    assert body["limits"]["storage_bytes"] == {"limit": None, "used": 7, "resets_at": None}
    assert body["limits"]["scans"] == {"limit": 3, "used": 0, "resets_at": None}
    money = body["limits"]["model_usd"]
    assert (money["limit"], money["used"]) == (2, 0.75)
    assert datetime.fromisoformat(money["resets_at"]) == quotas.next_month(datetime.now(UTC))
    assert body["totals"]["cost_usd"] == "0.500000000"
    forecast = body["forecast"]
    assert forecast["per_day_usd"] == "0.500000000"  # of one day: there were no more
    assert Decimal(forecast["cost_usd"]) >= Decimal("0.5")
    assert "the average of the last 1 day" in forecast["basis"]
    past = alice.get("/usage", month="2020-01").body
    assert past["forecast"] is None
    assert past["limits"]["items"]["used"] == 1  # it stands, whatever is asked for


def test_without_anything_paid_lately_there_is_no_forecast(alice: Caller, db: Database) -> None:
    spend(db, "alice", "1", timedelta(days=8))
    forecast = alice.get("/usage").body["forecast"]
    assert (forecast["cost_usd"], forecast["per_day_usd"], forecast["limit_reached_on"]) == (None, None, None)
    assert forecast["basis"] == "No model was paid for in the last 7 days: there is nothing to go by."


def test_me_tells_the_limits_that_count(alice: Caller, db: Database) -> None:
    may(db, "alice", items=7, scans=None)
    body = alice.get("/me").body
    assert (body["tier"], body["limits"]) == (
        "free",
        {"items": 7, "storage_bytes": 10737418240, "model_usd_per_month": 2, "scans": None},
    )


def test_what_waits_for_room_can_be_listed(alice: Caller, db: Database) -> None:
    why = {"error_code": "items", "error_message": "You have 2 of 2 items."}
    held = picture(db, "alice", status="over_quota", held_status="pending", **why)
    picture(db, "alice")
    (item,) = alice.get("/items", status="over_quota").body["items"]
    assert (item["item_id"], item["status"]) == (held, "over_quota")
    assert item["error"] == {"code": "items", "message": "You have 2 of 2 items."}


@pytest.mark.parametrize(
    ("held", "statuses"),
    [
        ("pending", {"analyze": 409, "resize-only": 409, "embed": 409}),
        ("processed", {"analyze": 202, "resize-only": 202, "embed": 409}),
        ("analyzed", {"analyze": 202, "resize-only": 202, "embed": 202}),
    ],
)
def test_of_what_waits_can_be_asked_what_could_be_asked_before(
    alice: Caller, db: Database, held: str, statuses: dict[str, int]
) -> None:
    item_id = picture(db, "alice", status="over_quota", held_status=held)
    assert {ask: alice.post(f"/items/{item_id}/{ask}").status for ask in statuses} == statuses


# Counters and rows

PAGE = (ROOT / "docs/quotas.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
DIFFERENCES = next(each for each in STATEMENTS if "FULL JOIN" in each)
"""Counters that are not what is there, as an operator asks for them."""


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.split()[0])
def test_what_the_page_tells_to_run_runs(db: Database, statement: str) -> None:
    db.execute(statement)


def test_the_page_tells_what_the_tiers_are(db: Database) -> None:
    rows = [
        re.split(r" *\| *", line)[2:5]
        for line in PAGE.splitlines()
        if re.match(r"\| (items|models|scans)", line)
    ]
    told = [[int(cell.replace(",", "")) for cell in row] for row in rows[:3]]
    names = ("items", "model_usd_per_month", "scans")
    assert told == [[profiles.limits(tier)[name] for tier in ("free", "plus", "team")] for name in names]


def differences(db: Database) -> list[dict[str, Any]]:
    return db.execute(DIFFERENCES).fetchall()


class Life:
    """Somebody who does this and that, in an order of chance."""

    SCAN = {"name": "s", "work": {"check": "objects"}, "schedule": {"every": "day", "at": "03:00"}}
    SOURCE = {"fingerprint": "ab" * 32, "name": "old"}

    def __init__(self, caller: Caller, db: Database, random: Random) -> None:
        self.caller, self.db, self.random = caller, db, random
        self.source = caller.post("/imports", self.SOURCE).body["import_id"]
        self.held: list[Any] = []

    @property
    def size(self) -> int | None:
        return self.random.choice([None, 10, 90])

    @property
    def number(self) -> int:
        return self.random.randrange(12)

    def one_of(self, table: str, key: str) -> Any:
        query = f"SELECT {key} AS id FROM {table} WHERE user_id = %s ORDER BY 1"  # noqa: S608 - constants
        rows = self.db.execute(query, (self.caller.user_id,)).fetchall()
        return self.random.choice(rows)["id"] if rows else None

    def add(self) -> Answer:
        return self.caller.post("/items", photos(self.size, self.size), idempotency_key=f"k{self.number}")

    def delete(self) -> Answer:
        return self.caller.delete(f"/items/{self.one_of('items', 'item_id')}")

    def bring(self) -> Answer:
        rows = {number: imported(number, self.size) for number in (self.number, self.number)}
        return self.caller.post(f"/imports/{self.source}/items", {"items": list(rows.values())})

    def undo(self) -> Answer:
        undone = self.caller.post(f"/imports/{self.source}/undo")
        self.caller.post("/imports", self.SOURCE)  # it is open again
        return undone

    def scan(self) -> Answer:
        return self.caller.post("/scans", self.SCAN)

    def forget_scan(self) -> Answer:
        return self.caller.delete(f"/scans/{self.one_of('scans', 'scan_id')}")

    def reserve(self) -> None:
        lasts = self.random.choice([MINUTE, timedelta(0), timedelta(days=31)])
        usd = Decimal(self.random.randrange(6)) / 100
        self.held.append(quotas.reserve_money(self.caller.user_id, "analyzer", usd, lasts))

    def settle(self) -> None:
        if self.held:
            with database.transaction() as cursor:
                usd = self.random.choice([CENT, Decimal("0.0000123")])
                ledger.charge(cursor, [charge(self.caller.user_id, usd)])
                quotas.free(cursor, self.caller.user_id, self.held.pop(0))

    def release(self) -> None:
        if self.held:
            quotas.release(self.caller.user_id, self.held.pop())

    def expire(self) -> None:
        quotas.expire()

    def step(self) -> bool:
        """Do something; returns whether it was refused for want of room."""
        whatever = (self.add, self.delete, self.bring, self.undo, self.scan, self.forget_scan, self.reserve,
                    self.settle, self.release, self.expire)  # fmt: skip
        often = (4, 1, 3, 0.5, 3, 1, 4, 1, 1, 1)
        try:
            answer = self.random.choices(whatever, often)[0]()
        except OverQuotaError:
            return True
        return isinstance(answer, Answer) and answer.status == 429


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_counters_are_what_is_there(
    environment: dict[str, str], alice: Caller, bob: Caller, db: Database, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - nothing secret
    for each in (alice, bob):
        may(db, each.user_id, items=8, storage_bytes=500, scans=2, model_usd_per_month=0.2)
    people = [Life(each, db, random) for each in (alice, bob)]
    refused = 0
    for _ in range(100):
        refused += random.choice(people).step()
        assert differences(db) == []
    assert refused > 5
    for each in (alice, bob):
        for quota in quotas.standing(each.user_id):
            assert quota.limit is not None
            # What was reserved is never more; what a call cost then is what it cost.
            assert quota.used <= quota.limit or quota.meter == "model_usd"

    paid = db.execute("SELECT sum(cost_usd) AS usd FROM usage_ledger WHERE user_id = 'alice'").fetchone()
    assert paid
    with database.transaction() as cursor:
        erasures.begin(cursor, "alice", uuid4())
    rows.erase("alice", lambda: None)
    assert rows.left("alice") == []
    # Nothing is reserved for them any more, and what they spent stays spent.
    left = differences(db)
    assert {each["user_id"] for each in left} <= {DEPLOYMENT}
    assert sum(each["counted"] - each["there"] for each in left) == (paid["usd"] or 0)


def test_what_came_before_there_were_quotas_is_counted_by_the_migration(
    database_server: str, environment: dict[str, str]
) -> None:
    files = sorted((ROOT / "migrations").glob("*.sql"))
    with psycopg.connect(database_server, autocommit=True) as server:
        server.execute("CREATE DATABASE before_quotas")
    try:
        with database.connect(database_server.replace("/postgres?", "/before_quotas?")) as before:
            for file in files[:5]:
                before.execute(file.read_bytes())
            for user_id, size in (("alice", 5), ("alice", None), ("bob", 7)):
                before.execute(
                    "INSERT INTO items (user_id, item_id, filename, object_key, file_size)"
                    " VALUES (%s, gen_random_uuid(), 'f', 'k', %s)",
                    (user_id, size),
                )
                for when in ("2026-10-31T23:59:59Z", "2026-11-01T00:00:00Z"):
                    before.execute(
                        "INSERT INTO usage_ledger (user_id, stage, provider, model, cost_usd, occurred_at)"
                        " VALUES (%s, 'analyzer', 'p', 'm', 0.25, %s)",
                        (user_id, when),
                    )
            for owner in ("alice", "*"):
                before.execute(
                    "INSERT INTO scans (user_id, scan_id, name, work, schedule, zone)"
                    " VALUES (%s, gen_random_uuid(), 's', '{}', '{}', 'UTC')",
                    (owner,),
                )
            for file in files[5:]:
                before.execute(file.read_bytes())
            assert differences(before) == []
            counted = before.execute("SELECT user_id, meter, period, used FROM usage_counters").fetchall()
            assert {tuple(row.values()) for row in counted} == {
                ("alice", "items", "", 2),
                ("alice", "storage_bytes", "", 5),
                ("alice", "scans", "", 1),
                ("bob", "items", "", 1),
                ("bob", "storage_bytes", "", 7),
                ("alice", "model_usd", "2026-10", Decimal("0.5")),
                ("alice", "model_usd", "2026-11", Decimal("0.5")),
                ("bob", "model_usd", "2026-10", Decimal("0.25")),
                ("bob", "model_usd", "2026-11", Decimal("0.25")),
                ("*", "model_usd", "2026-10", Decimal("0.75")),
                ("*", "model_usd", "2026-11", Decimal("0.75")),
            }
    finally:
        with psycopg.connect(database_server, autocommit=True) as server:
            server.execute("DROP DATABASE before_quotas WITH (FORCE)")
