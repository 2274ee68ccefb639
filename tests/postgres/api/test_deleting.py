"""A deleted item is gone, from every table and from every version of every object, and stays gone."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import requests
from botocore.exceptions import ClientError

from functions.api import deletion
from functions.image_processor import catalogue
from functions.image_processor.catalogue import Original
from functions.image_processor.upload import Upload
from shared import clients, database, items, objects
from shared.errors import TransientError
from tests.conftest import Aws
from tests.fakes.http_api import Caller, assert_problem
from tests.fakes.pictures import picture
from tests.postgres.api.stages import Pipeline, jpeg
from tests.unit.image_processor import pictures

Database = psycopg.Connection[dict[str, Any]]

NOTHING = dict.fromkeys(
    (
        "items",
        "item_events",
        "analyses",
        "embeddings",
        "search_documents",
        "corrections",
        "model_replies",
    ),
    0,
)


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    """The API's, on top of that of the stage behind it."""
    return {**function_env("ImageProcessor"), **function_env("Api", EMBEDDER="offline")}


@pytest.fixture
def pipeline(environment: dict[str, str], aws: Aws, db: Database) -> Pipeline:
    return Pipeline(aws, db)


def reply(db: Database, user_id: str, sha256: str) -> None:
    """Have a model said something of a content."""
    db.execute(
        "INSERT INTO model_replies (user_id, sha256, prompt_hash, provider, model, reply)"
        " VALUES (%s, %s, 'h', 'anthropic', 'm', '{}') ON CONFLICT DO NOTHING",
        (user_id, sha256),
    )


def processed(pipeline: Pipeline, caller: Caller, body: bytes | None = None) -> str:
    """An item that has been uploaded, processed and talked about; its id."""
    item_id = str(caller.post("/items", {"filename": "a.jpg"}).body["item_id"])
    assert pipeline.deliver(pipeline.upload(caller.user_id, item_id, body))["status"] == "processed"
    (row,) = pipeline.db.execute("SELECT sha256 FROM items WHERE item_id = %s", (item_id,)).fetchall()
    reply(pipeline.db, caller.user_id, row["sha256"])
    return item_id


class TestAnItem:
    def test_is_gone_with_every_row_and_every_version_of_every_object(
        self, alice: Caller, bob: Caller, pipeline: Pipeline, db: Database
    ) -> None:
        item_id = processed(pipeline, alice, jpeg("red"))
        # Another content in its place, derivatives made again, and all deleted as the console does it.
        pipeline.deliver(pipeline.upload("alice", item_id, jpeg("navy")))
        for row in db.execute("SELECT sha256 FROM items").fetchall():
            reply(db, "alice", row["sha256"])
        for run in ("one", "two"):
            pipeline.aws.s3.put_object(
                Bucket=pipeline.aws.media, Key=items.image_key("alice", UUID(item_id)), Body=run.encode()
            )
        for bucket, key in {*pipeline.stored("alice/")}:
            pipeline.aws.s3.delete_object(Bucket=bucket, Key=key)
        alice.patch(f"/items/{item_id}", {"headline": "Minka"})
        db.execute(
            "INSERT INTO usage_ledger (user_id, item_id, stage, provider, model)"
            " VALUES ('alice', %s, 's', 'p', 'm')",
            (item_id,),
        )
        # The same id with somebody else, and keys that only begin like its own.
        picture(db, "bob", item_id=UUID(item_id))
        pipeline.upload("bob", item_id)
        original = items.uploads_key("alice", UUID(item_id))
        pipeline.put(f"{original}.bak", b"an operator's")
        before = pipeline.rows("bob")

        answer = alice.delete(f"/items/{item_id}")
        assert (answer.status, answer.body) == (204, None)
        assert pipeline.rows("alice") == NOTHING
        assert pipeline.rows("bob") == before
        assert pipeline.stored("alice/") == [(pipeline.aws.uploads, f"{original}.bak")]
        assert len(pipeline.stored("bob/")) == 1
        assert_problem(alice.get(f"/items/{item_id}"), 404, "item-not-found")
        assert alice.get("/items").body["items"] == []
        (mark,) = db.execute("SELECT * FROM deleted_items").fetchall()
        assert (mark["user_id"], str(mark["item_id"]), mark["object_key"]) == ("alice", item_id, original)
        assert mark["objects_removed_at"] >= mark["deleted_at"]
        assert len(db.execute("SELECT FROM usage_ledger").fetchall()) == 1, "money spent stays spent"
        assert alice.delete(f"/items/{item_id}").status == 204, "the answer to the first may have been lost"

    def test_that_is_not_there_or_another_s_is_a_404_of_one_kind(
        self, alice: Caller, bob: Caller, pipeline: Pipeline
    ) -> None:
        hers = processed(pipeline, alice)
        before = (pipeline.rows("alice"), pipeline.stored())
        answers = [bob.delete(f"/items/{hers}"), bob.delete(f"/items/{uuid4()}"), bob.delete("/items/no-id")]
        for answer in answers:
            assert_problem(answer, 404, "item-not-found")
            assert answer.body == answers[0].body
        assert (pipeline.rows("alice"), pipeline.stored()) == before
        alice.delete(f"/items/{hers}")
        assert bob.delete(f"/items/{hers}").body == answers[0].body, "not even that it was there is told"

    def test_hands_its_place_to_the_oldest_duplicate(
        self, alice: Caller, pipeline: Pipeline, db: Database
    ) -> None:
        first, second, third = (processed(pipeline, alice) for _ in range(3))

        def originals() -> dict[str, Any]:
            rows = db.execute("SELECT item_id, duplicate_of FROM items").fetchall()
            return {str(row["item_id"]): row["duplicate_of"] and str(row["duplicate_of"]) for row in rows}

        assert originals() == {first: None, second: first, third: first}
        alice.delete(f"/items/{first}")
        assert originals() == {second: None, third: second}
        assert pipeline.rows("alice")["model_replies"] == 1, "the others are of the same content"
        alice.delete(f"/items/{third}")
        assert originals() == {second: None}
        assert pipeline.rows("alice")["model_replies"] == 1
        alice.delete(f"/items/{second}")
        assert pipeline.rows("alice") == NOTHING

    def test_takes_no_body(self, alice: Caller, db: Database) -> None:
        item_id = picture(db, "alice")
        for body in ("[1]", b"\xff\xfe"):
            assert_problem(alice("DELETE", f"/items/{item_id}", body=body), 400, "malformed-request")
        assert alice.get(f"/items/{item_id}").status == 200


class TestAFailure:
    @pytest.mark.parametrize("operation", ["list_object_versions", "delete_objects"])
    def test_of_s3_loses_nothing_and_the_next_request_goes_on(
        self, operation: str, alice: Caller, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        item_id = processed(pipeline, alice)
        before = pipeline.stored()

        def fail(**_: Any) -> None:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "secret"}}, operation)

        with monkeypatch.context() as patched:
            patched.setattr(clients.s3(), operation, fail)
            for _ in range(2):
                assert_problem(alice.delete(f"/items/{item_id}"), 503, "unavailable")
        assert pipeline.stored() == before
        assert_problem(alice.get(f"/items/{item_id}"), 404, "item-not-found")
        assert alice.delete(f"/items/{item_id}").status == 204
        assert pipeline.stored() == []

    def test_half_way_through_is_finished_by_the_next_request(
        self, alice: Caller, pipeline: Pipeline, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        item_id = processed(pipeline, alice)
        remove = objects.remove_versions

        def remove_the_first(bucket: str, key: str, **given: Any) -> objects.Removed:
            if bucket == pipeline.aws.media:
                raise TransientError("S3 did not answer as it should")
            return remove(bucket, key, **given)

        with monkeypatch.context() as patched:
            patched.setattr(objects, "remove_versions", remove_the_first)
            assert alice.delete(f"/items/{item_id}").status == 503
        assert {bucket for bucket, _ in pipeline.stored()} == {pipeline.aws.media}
        (mark,) = db.execute("SELECT objects_removed_at FROM deleted_items").fetchall()
        assert mark["objects_removed_at"] is None
        assert alice.delete(f"/items/{item_id}").status == 204
        assert pipeline.stored() == []
        (mark,) = db.execute("SELECT objects_removed_at FROM deleted_items").fetchall()
        assert mark["objects_removed_at"] is not None

    def test_before_the_commit_changes_nothing(
        self, alice: Caller, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        item_id = processed(pipeline, alice)
        before = (pipeline.rows("alice"), pipeline.stored())

        def fail(*_: Any) -> None:
            raise TransientError("the database gave up")

        with monkeypatch.context() as patched:
            patched.setattr(items, "pass_on", fail)
            assert_problem(alice.delete(f"/items/{item_id}"), 503, "unavailable")
        assert (pipeline.rows("alice"), pipeline.stored()) == before
        assert alice.get(f"/items/{item_id}").status == 200


class TestNothingBringsItBack:
    def test_neither_an_event_that_is_late_nor_one_that_is_repeated(
        self, alice: Caller, pipeline: Pipeline
    ) -> None:
        item_id = str(alice.post("/items", {"filename": "a.jpg"}).body["item_id"])
        first, second = (pipeline.upload("alice", item_id, jpeg(colour)) for colour in ("red", "navy"))
        pipeline.deliver(second)
        pipeline.aws.published()
        alice.delete(f"/items/{item_id}")
        for detail in (second, first, second):
            assert pipeline.deliver(detail) == {"item_id": item_id, "status": "deleted"}
        assert pipeline.rows("alice") == NOTHING
        assert pipeline.stored() == []
        assert pipeline.aws.published() == []

    def test_nor_a_form_that_is_still_valid(self, alice: Caller, pipeline: Pipeline) -> None:
        made = alice.post("/items", {"filename": "a.jpg"}).body
        item_id, form = made["item_id"], made["upload"]
        assert alice.delete(f"/items/{item_id}").status == 204
        for _ in range(2):
            files = {"file": ("a.jpg", jpeg())}
            assert requests.post(form["url"], data=form["fields"], files=files, timeout=5).ok
        assert len(pipeline.stored()) == 2
        detail = pipeline.upload("alice", item_id)
        assert pipeline.deliver(detail)["status"] == "deleted"
        assert pipeline.stored() == []
        assert pipeline.rows("alice") == NOTHING

    def test_nor_what_somebody_else_uploads_under_the_same_id(
        self, alice: Caller, bob: Caller, pipeline: Pipeline
    ) -> None:
        item_id = processed(pipeline, alice)
        alice.delete(f"/items/{item_id}")
        assert pipeline.deliver(pipeline.upload("bob", item_id))["status"] == "processed"
        assert pipeline.rows("alice") == NOTHING
        assert pipeline.stored("alice/") == []

    def test_nor_a_render_in_progress(
        self, alice: Caller, pipeline: Pipeline, db: Database, database_url: str, tmp_path: Any
    ) -> None:
        """The deletion waits until the render has committed, and then takes all that it wrote."""
        item_id = str(alice.post("/items", {"filename": "a.jpg"}).body["item_id"])
        detail = pipeline.upload("alice", item_id)
        upload, original = self.read(detail, tmp_path)
        deleted: list[bool] = []
        buckets = (pipeline.aws.uploads, pipeline.aws.media)
        with database.connect(database_url) as renderer:
            with renderer.transaction(), renderer.cursor() as cursor:
                row = catalogue.lock(cursor, upload, original, catalogue.find(upload) or {})
                deleter = threading.Thread(
                    target=lambda: deleted.append(deletion.delete("alice", UUID(item_id), *buckets))
                )
                deleter.start()
                wait_for_a_lock(db)
                for key in (items.image_key, items.thumbnail_key):
                    objects.write(pipeline.aws.media, key("alice", UUID(item_id)), b"jpeg", "image/jpeg", "s")
                catalogue.accept(cursor, upload, row, original, timedelta(seconds=1))
            deleter.join(timeout=30)
        assert deleted == [True]
        assert pipeline.rows("alice") == NOTHING
        assert pipeline.stored() == []

    @pytest.mark.parametrize("known", ["item was there", "object came first"])
    def test_nor_a_render_that_waited_for_the_deletion(
        self,
        known: str,
        alice: Caller,
        pipeline: Pipeline,
        db: Database,
        database_url: str,
        tmp_path: Any,
    ) -> None:
        item_id = str(alice.post("/items", {"filename": "a.jpg"}).body["item_id"])
        upload, original = self.read(pipeline.upload("alice", item_id), tmp_path)
        seen = catalogue.find(upload) if known == "item was there" else None
        names = {"user_id": "alice", "item_id": UUID(item_id), "object_key": "k"}
        failed: list[type[Exception]] = []

        def render_it() -> None:
            try:
                with database.transaction() as cursor:
                    if seen is None:
                        catalogue.enter(cursor, upload, original, None, "correlation")
                    else:
                        catalogue.lock(cursor, upload, original, seen)
            except TransientError as error:
                failed.append(type(error))

        with database.connect(database_url) as deleter:
            with deleter.transaction():
                deleter.execute(deletion.ROW + " FOR UPDATE", names)
                deleter.execute(deletion.MARK, names)
                deleter.execute(deletion.REMOVE, names)
                renderer = threading.Thread(target=render_it)
                renderer.start()
                wait_for_a_lock(db)
            renderer.join(timeout=30)
        assert failed == [TransientError]
        assert pipeline.rows("alice") == NOTHING

    def read(self, detail: dict[str, Any], folder: Any) -> tuple[Upload, Original]:
        """What image_processor knows of an original once it has rendered it."""
        upload = Upload.model_validate(detail)
        (folder / "original").write_bytes(jpeg())
        outcome = pictures.render(folder / "original", 10**8, False)
        assert upload.key
        return upload, Original(upload.key, upload.version, 1, "ab" * 32, outcome)


class TestAnOperatorsObject:
    KEY = "alice/holidays/beach.jpg"

    @pytest.fixture
    def item_id(self, alice: Caller, pipeline: Pipeline) -> str:
        assert pipeline.deliver(pipeline.put(self.KEY, jpeg("red")))["status"] == "processed"
        (item,) = alice.get("/items").body["items"]
        return str(item["item_id"])

    def test_is_gone_like_any_other(self, item_id: str, alice: Caller, pipeline: Pipeline) -> None:
        late = pipeline.put(self.KEY, jpeg("navy"))
        assert alice.delete(f"/items/{item_id}").status == 204
        assert (pipeline.rows("alice"), pipeline.stored()) == (NOTHING, [])
        # An event that is late finds that the object is gone: it was removed with the item.
        assert pipeline.deliver(late)["status"] == "gone"
        assert pipeline.rows("alice") == NOTHING

    def test_that_is_put_anew_is_a_new_one(
        self, item_id: str, alice: Caller, pipeline: Pipeline, db: Database
    ) -> None:
        """Operators choose their keys, and sync folders: a file that is back is no mistake."""
        alice.delete(f"/items/{item_id}")
        again = pipeline.put(self.KEY, jpeg("navy"))
        assert pipeline.deliver(again)["status"] == "processed"
        assert alice.get(f"/items/{item_id}").body["status"] == "processed"
        assert db.execute("SELECT FROM deleted_items").fetchall() == []
        assert pipeline.deliver(again)["status"] == "processed"
        assert alice.delete(f"/items/{item_id}").status == 204
        assert (pipeline.rows("alice"), pipeline.stored()) == (NOTHING, [])

    def test_that_comes_before_the_deletion_is_done_goes_with_it(
        self, item_id: str, alice: Caller, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise TransientError("S3 did not answer as it should")

        with monkeypatch.context() as patched:
            patched.setattr(objects, "remove_versions", fail)
            assert alice.delete(f"/items/{item_id}").status == 503
        assert pipeline.deliver(pipeline.put(self.KEY, jpeg("navy")))["status"] == "deleted"
        assert pipeline.rows("alice") == NOTHING
        assert alice.delete(f"/items/{item_id}").status == 204
        assert pipeline.stored() == []

    def test_a_render_that_saw_another_end_than_there_is_now_starts_again(
        self, item_id: str, alice: Caller, pipeline: Pipeline, tmp_path: Any
    ) -> None:
        """It was put anew and deleted anew while its bytes were read."""
        alice.delete(f"/items/{item_id}")
        upload, original = TestNothingBringsItBack().read(pipeline.put(self.KEY, jpeg()), tmp_path)
        bar = catalogue.bar(upload, None)
        assert (bar.holds, bar.deleted_at is not None) == (False, True)
        pipeline.db.execute("UPDATE deleted_items SET deleted_at = now()")
        with pytest.raises(TransientError), database.transaction() as cursor:
            catalogue.enter(cursor, upload, original, None, "correlation", bar.deleted_at)
        assert pipeline.rows("alice") == NOTHING


def test_what_comes_for_somebody_who_was_erased_is_removed(
    alice: Caller, bob: Caller, pipeline: Pipeline, db: Database
) -> None:
    item_id = processed(pipeline, alice)
    other = processed(pipeline, bob)
    kept = pipeline.stored("bob/")
    db.execute("INSERT INTO erasures (user_id, erasure_id) VALUES ('alice', gen_random_uuid())")
    again = pipeline.upload("alice", item_id, jpeg("navy"))
    assert pipeline.deliver(again)["status"] == "deleted", "although its row is still waiting for the eraser"
    db.execute("DELETE FROM items WHERE user_id = 'alice'")
    operators = pipeline.put("alice/beach.jpg", jpeg())
    for detail in (again, operators):
        assert pipeline.deliver(detail)["status"] == "deleted"
    assert pipeline.stored("alice/") == []
    assert pipeline.rows("alice")["items"] == 0
    assert pipeline.stored("bob/") == kept
    assert bob.get(f"/items/{other}").status == 200


def wait_for_a_lock(db: Database) -> None:
    """Return once somebody waits for somebody else in this database."""
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(5000):
        if db.execute(waiting).fetchall():
            return
    raise AssertionError("nobody waits")
