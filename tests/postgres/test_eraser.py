"""The end of an account: nothing is left, nothing of others is touched, and nothing comes back."""

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from functions.analyzer.replies import StoredReplies
from functions.analyzer.reply import Reply
from functions.analyzer.versions import Item, Question
from functions.eraser import handler, rows
from functions.eraser.handler import ToErase
from shared import clients, database, erasures, ledger, objects
from shared.envelopes import Message
from shared.erasures import AccountDeletedError
from shared.errors import TransientError
from shared.ledger import Charge
from shared.tenants import TABLES
from tests.conftest import ROOT, Aws, LambdaContext
from tests.fakes import belongings
from tests.fakes.belongings import Belongings, everything_of

Database = psycopg.Connection[dict[str, Any]]

ANN = "5b1f0a52-6d0e-4b0e-9f43-7a6f1f6b2c3d"
ANNE = ANN + "e"
"""Somebody whose id begins like the other's."""


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    return function_env("Eraser")


@pytest.fixture
def ann(environment: dict[str, str], db: Database, aws: Aws) -> Belongings:
    return everything_of(db, aws, ANN)


def ask(user_id: str = ANN) -> UUID:
    """Ask for an erasure, as the API does."""
    with database.transaction() as cursor:
        erasure_id: UUID = erasures.begin(cursor, user_id, uuid4())["erasure_id"]
    return erasure_id


def event(erasure_id: UUID, user_id: str = ANN) -> dict[str, Any]:
    envelope = json.loads((ROOT / "events" / "samples" / "eraser" / "envelope.json").read_text())
    envelope["detail"]["data"] = {"user_id": user_id, "erasure_id": str(erasure_id)}
    return envelope


def run(erasure_id: UUID, user_id: str = ANN) -> dict[str, Any]:
    return handler.lambda_handler(event(erasure_id, user_id), LambdaContext(remaining_ms=900_000))


def receipt(db: Database, user_id: str = ANN) -> dict[str, Any]:
    (row,) = db.execute("SELECT * FROM erasures WHERE user_id = %s", (user_id,)).fetchall()
    return row


def of_everything(ann: Belongings) -> dict[str, Any]:
    """What the receipt of that user has to say."""
    assert set(ann.rows) == set(TABLES)
    return {
        "rows": ann.rows,
        "objects": ann.versions,
        "bytes": ann.size,
        "cognito_user": False,
    }


def test_the_list_of_tables_names_every_table_that_could_hold_something_of_a_user(
    ann: Belongings, db: Database
) -> None:
    there = belongings.rows(db, ANN)
    assert set(TABLES) == set(there) - {"erasures"}
    assert len(TABLES) == len(set(TABLES))
    assert 0 not in [there[table] for table in TABLES], "the tests of erasure and export give it no row"


def test_every_table_comes_after_those_that_it_refers_to(db: Database) -> None:
    referring = db.execute(
        "SELECT conrelid::regclass::text AS one, confrelid::regclass::text AS other"
        "  FROM pg_constraint WHERE contype = 'f'"
    ).fetchall()
    assert referring
    for row in referring:
        assert TABLES.index(row["other"]) < TABLES.index(row["one"]), row


def test_nothing_of_the_user_is_left_and_nothing_of_anybody_else_is_touched(
    ann: Belongings, db: Database, aws: Aws
) -> None:
    everything_of(db, aws, ANNE)
    others, theirs = belongings.rows(db, ANNE), belongings.object_versions(aws, ANNE)
    answer = run(ask())
    assert answer["status"] == "erased"
    assert {table: count for table, count in belongings.rows(db, ANN).items() if count} == {"erasures": 1}
    assert belongings.object_versions(aws, ANN) == []
    assert belongings.rows(db, ANNE) == others
    assert belongings.object_versions(aws, ANNE) == theirs


def test_the_receipt_says_what_is_gone(ann: Belongings, db: Database) -> None:
    erasure_id = ask()
    run(erasure_id)
    row = receipt(db)
    assert row["erasure_id"] == erasure_id
    assert row["finished_at"] >= row["requested_at"]
    assert row["removed"] == of_everything(ann)


def test_a_second_delivery_changes_nothing(ann: Belongings, db: Database) -> None:
    erasure_id = ask()
    run(erasure_id)
    before = receipt(db)
    assert run(erasure_id)["status"] == "erased"
    assert receipt(db) == before


def steps(after: int, then: Callable[[], None]) -> Callable[[], float]:
    """A clock that does something at the given step, and has time enough."""
    number = itertools.count()

    def seconds_left() -> float:
        if next(number) == after:
            then()
        return 600.0

    return seconds_left


class CrashError(Exception):
    """The process dies."""


def crash() -> None:
    raise CrashError


def test_a_crash_at_any_step_is_harmless(ann: Belongings, db: Database, aws: Aws) -> None:
    """Each delivery comes one step further than the one before, and what it has done counts once."""
    message = Message(ToErase(user_id=ANN, erasure_id=ask()), "c", 1)
    for step in range(200):
        try:
            handler.process(message, steps(step, crash))
            break
        except CrashError:
            assert receipt(db)["finished_at"] is None
    assert step > 2 * len(TABLES) / 2
    assert receipt(db)["removed"] == of_everything(ann)
    assert belongings.object_versions(aws, ANN) == []


def test_out_of_time_it_goes_on_with_the_next_delivery(ann: Belongings, db: Database) -> None:
    message = Message(ToErase(user_id=ANN, erasure_id=ask()), "c", 1)
    for step in range(0, 200, 7):
        clock = itertools.chain(itertools.repeat(600.0, step), itertools.repeat(1.0))
        try:
            handler.process(message, lambda clock=clock: next(clock))
            break
        except TransientError:
            assert receipt(db)["finished_at"] is None
    assert receipt(db)["finished_at"] is not None
    assert receipt(db)["removed"] == of_everything(ann)


def test_many_rows_go_in_several_steps(
    ann: Belongings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 10)
    db.execute(
        "INSERT INTO usage_ledger (user_id, stage, provider, model)"
        " SELECT %s, 'api', 'voyage', 'voyage-4' FROM generate_series(1, 34)",
        (ANN,),
    )
    run(ask())
    assert receipt(db)["removed"]["rows"]["usage_ledger"] == 35
    assert belongings.rows(db, ANN)["usage_ledger"] == 0


def test_what_another_delivery_is_just_deleting_is_waited_for_and_counted_once(
    ann: Belongings, db: Database
) -> None:
    erasure_id = ask()
    answers: list[dict[str, Any]] = []
    with db.transaction():
        db.execute("SELECT FROM erasures WHERE user_id = %s FOR UPDATE", (ANN,))
        other = threading.Thread(target=lambda: answers.append(run(erasure_id)))
        other.start()
        wait_for_lock(db)
        db.execute("DELETE FROM usage_ledger WHERE user_id = %s", (ANN,))
        db.execute(
            "UPDATE erasures SET removed = jsonb_set(removed, '{rows,usage_ledger}', '1') WHERE user_id = %s",
            (ANN,),
        )
    other.join(timeout=30)
    assert [answer["status"] for answer in answers] == ["erased"]
    assert receipt(db)["removed"] == of_everything(ann)


def wait_for_lock(db: Database) -> None:
    """Return once somebody waits for a lock."""
    for _ in range(1000):
        row = db.execute(
            "SELECT pg_sleep(0.01), count(*) AS waiting FROM pg_locks WHERE NOT granted"
        ).fetchone()
        assert row is not None
        if row["waiting"]:
            return
    pytest.fail("nobody waits")


def test_what_a_late_writer_leaves_is_found(ann: Belongings, db: Database, aws: Aws) -> None:
    """Not everybody who writes asks first: what nobody has foreseen is looked for again."""

    def write() -> None:
        db.execute("INSERT INTO audit_log (user_id, event, outcome) VALUES (%s, 'late', 'late')", (ANN,))
        aws.s3.put_object(Bucket=aws.uploads, Key=f"{ANN}/late", Body=b"late")

    message = Message(ToErase(user_id=ANN, erasure_id=ask()), "c", 1)
    number = itertools.count()

    def clock() -> float:
        # When the first round has come to the objects of the second bucket, the last there are.
        if next(number) == len(TABLES) + 3:
            write()
        return 600.0

    assert handler.process(message, clock)["status"] == "erased"
    assert next(number) > len(TABLES) + 3
    assert receipt(db)["removed"]["rows"]["audit_log"] == 2
    assert belongings.object_versions(aws, ANN) == []
    assert not any(count for table, count in belongings.rows(db, ANN).items() if table != "erasures")


def test_a_table_that_was_forgotten_is_found_and_nothing_is_signed(
    ann: Belongings, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    db.execute("CREATE TABLE letters (user_id text NOT NULL, body text)")
    db.execute("INSERT INTO letters VALUES (%s, 'Dear Ann')", (ANN,))
    erasure_id = ask()
    with pytest.raises(TransientError, match="still there"):
        run(erasure_id)
    assert receipt(db)["finished_at"] is None
    assert "letters" in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize("asked", [False, True])
def test_an_event_that_nobody_asked_for_deletes_nothing(
    ann: Belongings, db: Database, aws: Aws, asked: bool
) -> None:
    if asked:
        ask()
    before, kept = belongings.rows(db, ANN), belongings.object_versions(aws, ANN)
    assert run(uuid4())["status"] == "ignored"
    assert belongings.rows(db, ANN) == before
    assert belongings.object_versions(aws, ANN) == kept


def test_an_operator_may_erase_somebody_who_wrote_a_letter(ann: Belongings, db: Database) -> None:
    context = LambdaContext(remaining_ms=900_000)
    first = handler.lambda_handler({"user_id": ANN}, context)
    assert first["status"] == "erased"
    assert handler.lambda_handler({"user_id": ANN}, context) == first
    assert receipt(db)["removed"] == of_everything(ann)


@pytest.mark.parametrize("name", ["queue", "envelope", "direct"])
def test_every_sample_event_is_taken(environment: dict[str, str], db: Database, name: str) -> None:
    example = json.loads((ROOT / "events" / "ErasureRequested" / "v1.example.json").read_text())["data"]
    if name != "direct":
        with database.transaction() as cursor:
            erasures.begin(cursor, example["user_id"], UUID(example["erasure_id"]))
    sample = json.loads((ROOT / "events" / "samples" / "eraser" / f"{name}.json").read_text())
    answer = handler.lambda_handler(sample, LambdaContext())
    assert answer == {"batchItemFailures": []} if name == "queue" else answer["status"] == "erased"
    assert receipt(db, example["user_id"])["finished_at"] is not None


def test_an_id_that_could_be_no_folder_is_refused(environment: dict[str, str]) -> None:
    for user_id in ("", "a/b", "/", "a\x00", "x" * 129, "*"):
        answer = handler.lambda_handler(
            {
                "Records": [
                    {
                        "messageId": "m",
                        "receiptHandle": "r",
                        "body": json.dumps(event(uuid4(), user_id)),
                        "attributes": {"ApproximateReceiveCount": "1"},
                        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:nowhere",
                    }
                ]
            },
            LambdaContext(),
        )
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m"}]}


# Cognito


@pytest.fixture
def people(environment: dict[str, str]) -> dict[str, str]:
    """Two users of the pool: their `sub` by e-mail address."""
    subs = {}
    for email in ("ann@example.com", "ben@example.com"):
        made = clients.cognito().admin_create_user(
            UserPoolId=environment["USER_POOL_ID"],
            Username=email,
            UserAttributes=[{"Name": "email", "Value": email}],
        )["User"]
        subs[email] = next(each["Value"] for each in made["Attributes"] if each["Name"] == "sub")
    return subs


def signed_up(environment: dict[str, str]) -> set[str]:
    users = clients.cognito().list_users(UserPoolId=environment["USER_POOL_ID"])["Users"]
    return {each["Value"] for user in users for each in user["Attributes"] if each["Name"] == "sub"}


def test_the_user_can_sign_in_no_more_and_others_can(
    people: dict[str, str], environment: dict[str, str], db: Database
) -> None:
    ann, ben = people.values()
    assert signed_up(environment) == {ann, ben}
    run(ask(ann), ann)
    assert signed_up(environment) == {ben}
    assert receipt(db, ann)["removed"]["cognito_user"] is True
    assert run(receipt(db, ann)["erasure_id"], ann)["status"] == "erased"
    assert receipt(db, ann)["removed"]["cognito_user"] is True


def test_somebody_who_never_signed_up_has_nothing_to_delete_there(
    people: dict[str, str], environment: dict[str, str], db: Database
) -> None:
    for user_id in ("operator", 'x" or sub ^= "', str(uuid4())):
        run(ask(user_id), user_id)
        assert receipt(db, user_id)["removed"]["cognito_user"] is False
        assert receipt(db, user_id)["finished_at"] is not None
    assert signed_up(environment) == set(people.values())


# The bar


def test_nobody_writes_for_somebody_who_is_erased(ann: Belongings) -> None:
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, ANN)
    ask()
    with pytest.raises(AccountDeletedError), database.transaction() as cursor:
        erasures.refuse_erased(cursor, ANN)
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, ANNE)


def test_an_erasure_begins_when_those_who_are_writing_have_committed(
    ann: Belongings, db: Database, database_url: str
) -> None:
    """So nothing can be written between the last look and the commit of somebody who asked in time."""
    begun = threading.Event()

    def erase() -> None:
        with database.connect(database_url) as own, own.transaction(), own.cursor() as cursor:
            erasures.begin(cursor, ANN, uuid4())
        begun.set()

    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, ANN)
        other = threading.Thread(target=erase)
        other.start()
        wait_for_lock(db)
        assert not begun.is_set()
        assert db.execute("SELECT FROM erasures").fetchall() == []
    other.join(timeout=10)
    assert begun.is_set()


def test_a_writer_that_waited_for_an_erasure_sees_it(ann: Belongings, db: Database) -> None:
    refused: list[Exception] = []

    def write() -> None:
        try:
            with database.transaction() as cursor:
                erasures.refuse_erased(cursor, ANN)
        except AccountDeletedError as error:
            refused.append(error)

    with db.transaction(), db.cursor() as cursor:
        erasures.begin(cursor, ANN, uuid4())
        writer = threading.Thread(target=write)
        writer.start()
        wait_for_lock(db)
    writer.join(timeout=10)
    assert len(refused) == 1


def test_what_a_stage_was_just_buying_is_neither_stored_nor_charged(ann: Belongings, db: Database) -> None:
    item = Item(ANN, ann.first, "processed", None, "v1", "ab", None, None, None)
    replies = StoredReplies.about(item, Question("another prompt", ""))
    reply = Reply.parse('{"content": [], "usage": {"input_tokens": 7, "output_tokens": 1}}')
    before = belongings.rows(db, ANN)
    ask()
    with pytest.raises(AccountDeletedError):
        replies.keep(("anthropic", "claude", 1), reply, None)
    with database.transaction() as cursor:
        ledger.charge(
            cursor, [Charge(user, None, "embedder", "voyage", "voyage-4", 3, 0.1) for user in (ANN, ANNE)]
        )
    assert belongings.rows(db, ANN) == before | {"erasures": 1}
    assert belongings.rows(db, ANNE)["usage_ledger"] == 1


# shared/objects.py


def test_every_version_below_a_prefix_is_removed_page_by_page(
    environment: dict[str, str], aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAGE", 10)
    for number in range(13):
        aws.s3.put_object(Bucket=aws.media, Key=f"ann/{number}", Body=b"12")
    aws.s3.put_object(Bucket=aws.media, Key="anna/1", Body=b"12")
    pages: list[objects.Removed] = []
    gone = objects.remove_versions(aws.media, "ann/", pages.append)
    assert gone == objects.Removed(13, 26)
    assert [page.versions for page in pages] == [10, 3]
    assert objects.remove_versions(aws.media, "ann/") == objects.Removed(0, 0)
    assert [each["Key"] for each in aws.s3.list_object_versions(Bucket=aws.media)["Versions"]] == ["anna/1"]
