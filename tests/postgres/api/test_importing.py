"""Importing, from the request to its effect in the stages: what came is kept, and nothing is paid for."""

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import requests

from functions.analyzer import claude
from functions.analyzer.handler import lambda_handler as analyzer
from functions.api import imports
from functions.api.routes import imports as routes
from functions.embedder.handler import lambda_handler as embedder
from functions.nightly import abandoned
from functions.scan_checker import store
from functions.scan_planner import selection
from shared import items
from shared.runs import RunInput
from tests.conftest import Aws, LambdaContext
from tests.fakes.anthropic_server import AnthropicServer, message
from tests.fakes.http_api import Answer, Caller, assert_problem
from tests.postgres.api.stages import Pipeline, jpeg

Database = psycopg.Connection[dict[str, Any]]

FINGERPRINT = "5e" * 32
RAW = {
    "category": "Travel",
    "headline": "Low tide",
    "summary": "A beach at low tide.",
    "subcategories": ["Beach"],
    "image_details": {"objects": ["sand", "pier"], "extracted_text": "OPEN"},
    "model_says_more": {"odd": [1, None]},
}
"""What some model said, in its own way: one text where we have several, and a field that we do not know."""


@pytest.fixture
def models() -> Any:
    with AnthropicServer() as server:
        claude.forget()
        yield server
        claude.forget()


@pytest.fixture
def environment(
    function_env: Callable[..., dict[str, str]],
    models: AnthropicServer,
    aws: Aws,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """The API's, on top of those of the stages behind it, which would pay a model."""
    stages = [function_env(name) for name in ("ImageProcessor", "Embedder")]
    monkeypatch.setenv("ANTHROPIC_BASE_URL", models.url)
    stages.append(function_env("Analyzer", ANALYZER="anthropic"))
    whole = {name: value for each in stages for name, value in each.items()} | function_env(
        "Api", EMBEDDER="offline"
    )
    aws.put_parameter(whole["ANTHROPIC_KEY_PARAMETER"], "sk-test")
    return whole


@pytest.fixture
def pipeline(environment: dict[str, str], aws: Aws, db: Database) -> Pipeline:
    return Pipeline(aws, db)


def vector(first: float = 1.0, dimensions: int = 1024) -> str:
    """A vector as a SQLite column holds it: float32, little-endian; here in base64."""
    numbers = [first, 0.5] + [0.0] * (dimensions - 2)
    return base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()


def row(item_id: str, body: bytes | None = None, **changed: Any) -> dict[str, Any]:
    """An item with two analyses, as it is sent; with the promise of an image where there is a body."""
    second = str(uuid4())
    made = {
        "item": {
            "id": item_id,
            "filename": f"{item_id}.jpg",
            "original_filename": "beach.jpg",
            "file_path": f"2023/{item_id}.jpg",
            "mime_type": "image/jpeg",
            "created_at": "2023-05-06T07:08:09.123456",
            "updated_at": "2023-06-07T08:09:10",
            "rating": 5,
        },
        "analyses": [
            {
                "id": str(uuid4()),
                "item_id": item_id,
                "version": 1,
                "category": "Old",
                "summary": "An old view.",
                "raw_response": None,
                "model_used": "gpt-4o",
                "created_at": "2023-05-06T08:00:00",
            },
            {
                "id": second,
                "item_id": item_id,
                "version": 3,
                "category": "Travel",
                "summary": "A beach at low tide.",
                "raw_response": json.dumps(RAW, indent=1),
                "provider_used": "vertex",
                "model_used": "gemini-2.0",
                "trace_id": "trace-7",
                "created_at": "2023-05-07T08:00:00",
            },
        ],
        "embedding": {
            "id": "e-1",
            "item_id": item_id,
            "analysis_id": second,
            "embedding": vector(),
            "embedding_model": "hashed-words-1",
            "embedding_dimensions": 1024,
            "embedding_source": '{"fields": ["summary"]}',
            "created_at": "2023-05-08T08:00:00",
        },
    }
    if body is not None:
        made["image"] = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return {**made, **changed}


def begun(caller: Caller, fingerprint: str = FINGERPRINT) -> str:
    answer = caller.post("/imports", {"fingerprint": fingerprint, "name": "collection.db"})
    assert answer.status == 201, answer.body
    return str(answer.body["import_id"])


def bring(caller: Caller, import_id: str, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    answer = caller.post(f"/imports/{import_id}/items", {"items": list(rows)})
    assert answer.status == 200, answer.body
    return list(answer.body["items"])


class Stages:
    """Every stage, asked as its queue would ask it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def post(self, form: dict[str, Any], body: bytes) -> dict[str, Any]:
        """Post a file with a form, and return the detail of `Object Created`."""
        sent = requests.post(form["url"], data=form["fields"], files={"file": body}, timeout=5)
        assert sent.ok, sent.text
        aws, key = self.pipeline.aws, form["fields"]["key"]
        self.pipeline.sequencer += 0x10
        return {
            "bucket": {"name": aws.uploads},
            "object": {
                "key": key,
                "size": len(body),
                "version-id": aws.s3.head_object(Bucket=aws.uploads, Key=key)["VersionId"],
                "sequencer": f"{self.pipeline.sequencer:018X}",
            },
        }

    def run(self) -> list[str]:
        """Deliver what is published until nothing is; returns what it was."""
        heard = []
        while envelopes := self.pipeline.aws.published():
            for envelope in envelopes:
                heard.append(envelope["detail-type"])
                stage = {
                    "ImageProcessed": analyzer,
                    "AnalysisRequested": analyzer,
                    "AnalysisComplete": embedder,
                    "EmbeddingRequested": embedder,
                }.get(envelope["detail-type"])
                if stage:
                    stage(json.loads(json.dumps(envelope)), LambdaContext())
        return heard

    def upload(self, form: dict[str, Any], body: bytes) -> list[str]:
        self.pipeline.deliver(self.post(form, body))
        return self.run()


@pytest.fixture
def stages(pipeline: Pipeline) -> Stages:
    return Stages(pipeline)


class TestAnItemWithItsImage:
    def test_is_searchable_without_a_model_and_without_a_price(
        self, alice: Caller, stages: Stages, db: Database, models: AnthropicServer
    ) -> None:
        item_id, body = str(uuid4()), jpeg()
        import_id = begun(alice)
        (told,) = bring(alice, import_id, row(item_id, body))
        assert (told["item_id"], told["status"]) == (item_id, "imported")
        assert [part["status"] for part in [*told["analyses"], told["embedding"]]] == ["imported"] * 3
        assert alice.get(f"/items/{item_id}").body["status"] == "pending"

        heard = stages.upload(told["upload"], body)
        assert heard == ["ImageProcessed", "AnalysisComplete", "EmbeddingComplete"]
        assert models.asked == []
        assert db.execute("SELECT FROM usage_ledger").fetchall() == []
        assert db.execute("SELECT FROM model_replies").fetchall() == []
        (hit,) = alice.get("/search", q="low tide").body["hits"]
        assert hit["item_id"] == item_id

    def test_is_as_it_was(self, alice: Caller, stages: Stages, db: Database) -> None:
        item_id, body = str(uuid4()), jpeg()
        coming = row(item_id, body)
        (told,) = bring(alice, begun(alice), coming)
        stages.upload(told["upload"], body)
        item = alice.get(f"/items/{item_id}").body
        assert (item["status"], item["filename"]) == ("ready", "beach.jpg")
        assert (item["created_at"], item["updated_at"]) == (
            "2023-05-06T07:08:09.123456Z",
            "2023-06-07T08:09:10Z",
        )
        assert (item["category"], item["headline"], item["tags"]) == ("Travel", "Low tide", ["Beach"])
        assert item["sha256"] == hashlib.sha256(body).hexdigest()
        assert item["analysis"]["image_details"] == {"objects": ["sand", "pier"], "extracted_text": ["OPEN"]}
        assert item["analysis"]["model_says_more"] == {"odd": [1, None]}
        newest, oldest = alice.get(f"/items/{item_id}/analyses").body["analyses"]
        assert (newest["version"], newest["current"], newest["provider"], newest["model"]) == (
            3,
            True,
            "vertex",
            "gemini-2.0",
        )
        assert (oldest["version"], oldest["provider"], oldest["summary"]) == (1, "openai", "An old view.")
        rows = db.execute("SELECT * FROM analyses ORDER BY version").fetchall()
        assert [str(each["analysis_id"]) for each in rows] == [each["id"] for each in coming["analyses"]]
        assert rows[1]["source"]["raw_response"] == json.dumps(RAW, indent=1)
        assert rows[1]["trace_id"] == "trace-7"
        assert rows[1]["created_at"] == datetime(2023, 5, 7, 8, tzinfo=UTC)
        (kept,) = db.execute("SELECT *, embedding::text AS vector FROM embeddings").fetchall()
        assert kept["vector"].startswith("[1,0.5,0,")
        assert (kept["model"], kept["analysis_version"]) == ("hashed-words-1", 3)
        assert kept["created_at"] == datetime(2023, 5, 8, 8, tzinfo=UTC)

    def test_every_delivery_may_come_twice(
        self, alice: Caller, stages: Stages, db: Database, models: AnthropicServer
    ) -> None:
        item_id, body = str(uuid4()), jpeg()
        import_id, coming = begun(alice), row(item_id, body)
        (told,) = bring(alice, import_id, coming)
        stages.upload(told["upload"], body)
        before = alice.get(f"/items/{item_id}").body
        # Uploaded again by a command that was killed before it heard of it, and told again by S3.
        detail = stages.post(told["upload"], body)
        for _ in range(2):
            stages.pipeline.deliver(detail)
            stages.run()
        (again,) = bring(alice, import_id, coming)
        assert (again["status"], again["upload"]) == ("imported", None), "its image is there"
        after = alice.get(f"/items/{item_id}").body
        for changing in ("timeline", "views", "thumbnail"):
            before.pop(changing), after.pop(changing)
        assert after == before
        assert models.asked == []
        assert len(db.execute("SELECT FROM analyses").fetchall()) == 2

    def test_can_be_described_anew_as_any(
        self, alice: Caller, stages: Stages, db: Database, models: AnthropicServer
    ) -> None:
        item_id, body = str(uuid4()), jpeg()
        (told,) = bring(alice, begun(alice), row(item_id, body))
        stages.upload(told["upload"], body)
        models.will_answer(message())
        assert alice.post(f"/items/{item_id}/analyze").status == 202
        stages.run()
        newest = alice.get(f"/items/{item_id}/analyses").body["analyses"][0]
        assert (newest["version"], newest["provider"], newest["current"]) == (4, "anthropic", True)
        assert len(models.asked) == 1
        assert alice.get(f"/items/{item_id}").body["updated_at"] > "2026", "somebody changed it here"

    def test_another_picture_under_its_key_is_described_anew(
        self, alice: Caller, stages: Stages, models: AnthropicServer
    ) -> None:
        item_id, body = str(uuid4()), jpeg()
        (told,) = bring(alice, begun(alice), row(item_id, body))
        stages.upload(told["upload"], body)
        models.will_answer(message())
        stages.pipeline.deliver(stages.pipeline.upload("alice", item_id, jpeg("red")))
        stages.run()
        assert len(models.asked) == 1
        assert alice.get(f"/items/{item_id}").body["analysis"]["version"] == 4

    def test_the_form_takes_nothing_of_another_size(self, alice: Caller, stages: Stages) -> None:
        body = jpeg()
        (told,) = bring(alice, begun(alice), row(str(uuid4()), body))
        form = told["upload"]
        expected = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert form["fields"]["x-amz-checksum-sha256"] == expected
        sent = requests.post(form["url"], data=form["fields"], files={"file": body + b"x"}, timeout=5)
        assert "EntityTooLarge" in sent.text
        changed = {**form["fields"], "x-amz-checksum-sha256": "AAAA"}
        sent = requests.post(form["url"], data=changed, files={"file": body}, timeout=5)
        assert (sent.status_code, "AccessDenied" in sent.text) == (403, True)

    def test_without_an_analysis_is_described_as_any_upload(
        self, alice: Caller, stages: Stages, models: AnthropicServer
    ) -> None:
        item_id, body = str(uuid4()), jpeg()
        models.will_answer(message())
        (told,) = bring(alice, begun(alice), row(item_id, body, analyses=[], embedding=None))
        stages.upload(told["upload"], body)
        assert len(models.asked) == 1
        assert alice.get(f"/items/{item_id}").body["status"] == "ready"

    def test_whose_vector_does_not_fit_gets_another(
        self, alice: Caller, stages: Stages, db: Database
    ) -> None:
        body, told = jpeg(), []
        import_id = begun(alice)
        strange = [
            {"embedding_model": "voyage-3.5-lite"},
            {"embedding": vector(dimensions=8), "embedding_dimensions": 8},
            {"analysis_id": None, "embedding_model": None},
        ]
        for changed in strange:
            coming = row(str(uuid4()), body)
            coming["embedding"] |= changed
            told += bring(alice, import_id, coming)
            stages.upload(told[-1]["upload"], body)
        assert [(each["embedding"]["status"], each["embedding"]["code"]) for each in told] == [
            ("skipped", "other_model"),
            ("skipped", "other_dimensions"),
            ("skipped", "other_model"),
        ]
        vectors = db.execute("SELECT embedding::text AS v, model FROM embeddings").fetchall()
        assert {each["model"] for each in vectors} == {"hashed-words-1"}
        assert not [each for each in vectors if each["v"].startswith("[1,0.5,0")]
        assert len(vectors) == 3

    def test_what_was_corrected_meanwhile_gets_a_vector_of_its_own(
        self, alice: Caller, stages: Stages, db: Database
    ) -> None:
        item_id, body = str(uuid4()), jpeg()
        (told,) = bring(alice, begun(alice), row(item_id, body))
        stages.upload(told["upload"], body)
        assert alice.patch(f"/items/{item_id}", {"headline": "A pier"}).status == 200
        stages.run()
        (kept,) = db.execute("SELECT embedding::text AS v, created_at FROM embeddings").fetchall()
        assert not kept["v"].startswith("[1,0.5,0")
        assert kept["created_at"].year >= 2026


class TestAnItemWithoutAnImage:
    def test_is_found_by_its_analysis(
        self, alice: Caller, stages: Stages, db: Database, models: AnthropicServer
    ) -> None:
        item_id = str(uuid4())
        import_id = begun(alice)
        (told,) = bring(alice, import_id, row(item_id))
        assert (told["status"], told["upload"]) == ("imported", None)
        assert stages.run() == ["EmbeddingRequested", "EmbeddingComplete"]
        for mode in ("text", "vector"):
            hits = alice.get("/search", q="beach low tide", mode=mode, min_score=0).body["hits"]
            assert [hit["item_id"] for hit in hits] == [item_id]
        item = alice.get(f"/items/{item_id}").body
        assert (item["status"], item["thumbnail"], item["image"]) == ("ready", None, None)
        assert item["views"] == {"image": None, "thumbnail": None, "original": None}
        assert item["updated_at"] == "2023-06-07T08:09:10Z"
        assert alice.get("/items").body["items"][0]["item_id"] == item_id
        assert alice.get("/categories").body["categories"] == [{"category": "Travel", "items": 1}]
        for action in ("analyze", "resize-only"):
            assert_problem(alice.post(f"/items/{item_id}/{action}"), 409, "item-not-fit")
        assert alice.post(f"/items/{item_id}/embed").status == 202
        assert alice.get("/duplicates").body["groups"] == []
        bring(alice, import_id, row(item_id))
        assert stages.run() == ["EmbeddingRequested", "EmbeddingComplete"], "of the request to embed only"

    def test_gets_its_image_when_it_comes_later(
        self, alice: Caller, stages: Stages, models: AnthropicServer
    ) -> None:
        item_id, body, import_id = str(uuid4()), jpeg(), begun(alice)
        coming = row(item_id)
        bring(alice, import_id, coming)
        stages.run()
        image = row(item_id, body)["image"]
        (told,) = bring(alice, import_id, {**coming, "image": image})
        stages.upload(told["upload"], body)
        item = alice.get(f"/items/{item_id}").body
        assert (item["status"], item["analysis"]["version"]) == ("ready", 3)
        assert item["thumbnail"]
        assert models.asked == []

    def test_is_deleted_like_any(self, alice: Caller, stages: Stages, db: Database) -> None:
        item_id = str(uuid4())
        bring(alice, begun(alice), row(item_id))
        stages.run()
        assert alice.delete(f"/items/{item_id}").status == 204
        assert alice.get(f"/items/{item_id}").status == 404
        assert db.execute("SELECT FROM import_items").fetchall() == []

    def test_without_an_analysis_is_nothing(self, alice: Caller, db: Database) -> None:
        (told,) = bring(alice, begun(alice), row(str(uuid4()), analyses=[], embedding=None))
        assert (told["status"], told["code"]) == ("refused", "nothing_to_import")
        assert db.execute("SELECT FROM items").fetchall() == []


class TestRowsThatCannotBeTaken:
    def test_keep_no_other_back(self, alice: Caller, db: Database) -> None:
        good, import_id = str(uuid4()), begun(alice)
        other = str(uuid4())
        broken: list[tuple[str, dict[str, Any]]] = [
            ("bad_id", row("7")),
            ("wrong_type", row(str(uuid4()), item={"id": str(uuid4()), "filename": ["x"]})),
            ("nul", row(str(uuid4()), item={"id": str(uuid4()), "filename": "a\x00b"})),
            ("surrogate", row(str(uuid4()), item={"id": str(uuid4()), "file_path": "a\ud800b"})),
            ("bad_date", row(str(uuid4()), item={"id": str(uuid4()), "created_at": "yesterday"})),
            ("too_long", row(str(uuid4()), item={"id": str(uuid4()), "file_path": "x" * 5000})),
            ("duplicate_id", row(good)),
            ("too_large", row(other, image={"size": 10**12, "sha256": "00" * 32})),
        ]
        told = bring(alice, import_id, row(good), *(each for _, each in broken), row(other))
        assert [each["code"] for each in told] == [None, *(code for code, _ in broken), None]
        assert all(each["message"] for each in told[1:-1])
        assert [told[0]["status"], told[-1]["status"]] == ["imported", "imported"]
        assert len(db.execute("SELECT FROM items").fetchall()) == 2

    def test_keep_no_other_part_of_their_item_back(self, alice: Caller, db: Database) -> None:
        item_id = str(uuid4())
        coming = row(item_id)
        one = coming["analyses"][0]
        broken = [
            ("bad_json", {**one, "id": "a", "raw_response": "{not json"}),
            ("bad_json", {**one, "id": "b", "raw_response": '{"a": NaN}'}),
            ("bad_json", {**one, "id": "c", "raw_response": "[" * 300 + "]" * 300}),
            ("wrong_type", {**one, "id": "d", "raw_response": "[]"}),
            ("nul", {**one, "id": "e", "raw_response": '{"summary": "a\\u0000b"}'}),
            ("surrogate", {**one, "id": "f", "raw_response": '{"summary": "\\ud800"}'}),
            ("wrong_type", {**one, "id": "g", "version": "2"}),
            ("wrong_type", {**one, "id": "h", "version": True}),
            ("duplicate_version", {**one, "id": "i"}),
            ("duplicate_id", {**one, "version": 9}),
            ("bad_id", {**one, "id": "j", "item_id": str(uuid4())}),
            ("bad_date", {**one, "id": "k", "created_at": 5}),
        ]
        coming["analyses"] += [each for _, each in broken]
        coming["embedding"] |= {"embedding": json.dumps([0.5, 1e999])}
        (told,) = bring(alice, begun(alice), coming)
        assert [part["code"] for part in told["analyses"]] == [None, None, *(code for code, _ in broken)]
        assert told["embedding"]["code"] == "bad_json" or told["embedding"]["code"] == "bad_vector"
        assert len(db.execute("SELECT FROM analyses").fetchall()) == 2

    def test_of_a_vector_say_why(self, alice: Caller) -> None:
        nothing, no_number = struct.pack("<1024f", *[0.0] * 1024), struct.pack("<2f", float("nan"), 1)
        broken: list[tuple[str, dict[str, Any]]] = [
            ("bad_vector", {"embedding": "!!"}),
            ("bad_vector", {"embedding": [1.0, "2"]}),
            ("bad_vector", {"embedding": []}),
            ("bad_vector", {"embedding": None}),
            ("bad_vector", {"embedding": base64.b64encode(nothing).decode()}),
            ("bad_vector", {"embedding": base64.b64encode(no_number).decode()}),
            ("bad_vector", {"embedding": base64.b64encode(b"12345").decode()}),
            ("wrong_dimensions", {"embedding_dimensions": 1023}),
            ("wrong_type", {"embedding_dimensions": "1024"}),
            ("bad_json", {"embedding_source": "{"}),
            ("orphan", {"analysis_id": str(uuid4())}),
        ]
        rows = [row(str(uuid4())) for _ in broken]
        for each, (_, changed) in zip(rows, broken, strict=True):
            each["embedding"] |= changed
        told = bring(alice, begun(alice), *rows)
        assert {each["status"] for each in told} == {"imported"}
        assert [(each["embedding"]["status"], each["embedding"]["code"]) for each in told] == [
            ("refused", code) for code, _ in broken
        ]

    def test_an_id_of_an_analysis_of_another_item_is_refused(self, alice: Caller, db: Database) -> None:
        import_id = begun(alice)
        first, second, third = row(str(uuid4())), row(str(uuid4())), row(str(uuid4()))
        second["analyses"][1]["id"] = first["analyses"][0]["id"]
        second["embedding"]["analysis_id"] = first["analyses"][0]["id"]
        third["analyses"] = [{**first["analyses"][0], "item_id": None}]
        told = bring(alice, import_id, first, second, third)
        assert [part["code"] for part in told[1]["analyses"]] == [None, "duplicate_id"]
        assert (told[2]["status"], told[2]["code"]) == ("refused", "nothing_to_import")
        assert [part["code"] for part in told[2]["analyses"]] == ["duplicate_id"]
        assert db.execute("SELECT count(*) AS n FROM items").fetchone() == {"n": 2}
        found = db.execute("SELECT embedding FROM import_items WHERE item_id = %s", (second["item"]["id"],))
        assert found.fetchall() == [{"embedding": None}], "the vector of an analysis that is not there"

    def test_a_request_in_another_shape_is_refused_whole(self, alice: Caller) -> None:
        import_id = begun(alice)
        for wrong in (
            {},
            {"items": []},
            {"items": [row(str(uuid4()))] * 101},
            {"items": [{**row(str(uuid4())), "more": 1}]},
            {"items": [row(str(uuid4()), image={"size": 0, "sha256": "00" * 32})]},
            {"items": [row(str(uuid4()), image={"size": 1, "sha256": "zz"})]},
        ):
            assert_problem(alice.post(f"/imports/{import_id}/items", wrong), 422, "invalid-input")
        for wrong in ({}, {"fingerprint": "ab", "name": "x"}, {"fingerprint": FINGERPRINT, "name": ""}):
            assert_problem(alice.post("/imports", wrong), 422, "invalid-input")


class TestTheImport:
    def test_of_the_same_source_is_the_same(self, alice: Caller, bob: Caller) -> None:
        assert begun(alice) == begun(alice)
        assert begun(alice) != begun(alice, "00" * 32)
        assert begun(alice) != begun(bob)
        assert len(alice.get("/imports").body["imports"]) == 2
        first = alice.get("/imports", limit=1).body
        second = alice.get("/imports", limit=1, cursor=first["next_cursor"]).body
        assert {page["imports"][0]["import_id"] for page in (first, second)} == {
            begun(alice),
            begun(alice, "00" * 32),
        }

    def test_two_people_may_import_the_same_collection(
        self, alice: Caller, bob: Caller, stages: Stages, db: Database
    ) -> None:
        coming = row(str(uuid4()))
        for caller in (alice, bob):
            (told,) = bring(caller, begun(caller), coming)
            assert [told["status"], *(part["status"] for part in told["analyses"])] == ["imported"] * 3
        stages.run()
        assert len(bob.get("/search", q="beach").body["hits"]) == 1

    def test_tells_how_it_stands(self, alice: Caller, stages: Stages) -> None:
        import_id, body = begun(alice), jpeg()
        ids = sorted(str(uuid4()) for _ in range(4))
        told = bring(alice, import_id, *(row(item_id, body) for item_id in ids[:3]), row(ids[3]))
        stages.upload(told[0]["upload"], body)
        stages.pipeline.deliver(stages.pipeline.upload("alice", ids[1], jpeg("red")))
        whole = alice.get(f"/imports/{import_id}").body
        assert whole["items"] == {
            "total": 4,
            "waiting": 1,
            "working": 1,
            "ready": 2,
            "rejected": 0,
            "failed": 0,
            "over_quota": 0,
        }
        size = len(body)
        assert whole["images"] == {
            "announced": 3,
            "announced_bytes": 3 * size,
            "same": 1,
            "same_bytes": size,
            "different": 1,
        }
        assert (whole["analyses"], whole["embeddings"]) == (8, 4)
        first = alice.get(f"/imports/{import_id}/items", limit=3).body
        rest = alice.get(f"/imports/{import_id}/items", limit=3, cursor=first["next_cursor"]).body
        listed = first["items"] + rest["items"]
        assert [each["item_id"] for each in listed] == ids
        assert [each["status"] for each in listed] == ["ready", "processed", "pending", "ready"]
        assert listed[0]["announced"] == listed[0]["stored"]
        assert listed[1]["announced"] != listed[1]["stored"]
        assert (listed[2]["stored"], listed[3]["announced"]) == (None, None)

    def test_leaves_alone_what_was_there(self, alice: Caller, stages: Stages, db: Database) -> None:
        item_id = str(uuid4())
        coming = row(item_id)
        bring(alice, begun(alice), coming)
        stages.run()
        before = db.execute("SELECT * FROM items").fetchall(), db.execute("SELECT * FROM analyses").fetchall()
        other = begun(alice, "00" * 32)
        newer = {**coming["analyses"][1], "id": str(uuid4()), "version": 4}
        (told,) = bring(alice, other, {**coming, "analyses": [*coming["analyses"], newer]})
        assert told["status"] == "exists"
        assert [(part["status"], part["code"]) for part in told["analyses"]] == [
            ("exists", None),
            ("exists", None),
            ("skipped", "item_exists"),
        ]
        after = db.execute("SELECT * FROM items").fetchall(), db.execute("SELECT * FROM analyses").fetchall()
        assert after == before
        assert alice.get(f"/imports/{other}").body["items"]["total"] == 0

    def test_rows_without_a_version_are_numbered(self, alice: Caller) -> None:
        item_id = str(uuid4())
        analyses = [{"id": str(number), "summary": f"view {number}"} for number in range(3)]
        analyses[1]["version"] = 1  # type: ignore[assignment]
        (told,) = bring(alice, begun(alice), row(item_id, analyses=analyses, embedding=None))
        assert [part["status"] for part in told["analyses"]] == ["imported"] * 3
        listed = alice.get(f"/items/{item_id}/analyses").body["analyses"]
        assert [(each["version"], each["summary"]) for each in listed] == [
            (3, "view 2"),
            (2, "view 0"),
            (1, "view 1"),
        ]
        assert {(each["provider"], each["model"], each["category"]) for each in listed} == {
            ("unknown", "unknown", "Uncategorized")
        }

    def test_hostile_shapes_of_what_a_model_said_are_shown_all_the_same(self, alice: Caller) -> None:
        import_id = begun(alice)
        shapes: list[dict[str, Any]] = [
            {"subcategories": "one", "image_details": "text", "media_metadata": [1]},
            {"subcategories": {"a": 1}, "image_details": {"objects": [1, "x", None, ""], "themes": {}}},
            {"headline": ["x"], "summary": 5, "category": {}, "media_metadata": {"hashtags": "tag"}},
            {"category": "c" * 5000, "headline": "h" * 5000, "summary": "s" * 50000},
        ]
        for raw in shapes:
            item_id = str(uuid4())
            analysis = {"id": str(uuid4()), "version": 1, "raw_response": json.dumps(raw)}
            bring(alice, import_id, row(item_id, analyses=[analysis], embedding=None))
            assert alice.get(f"/items/{item_id}").status == 200
        assert alice.get("/items").status == 200
        assert alice.get("/search", q="tag x one").status == 200


class TestUndoing:
    def test_removes_exactly_what_the_import_brought(
        self, alice: Caller, bob: Caller, stages: Stages, db: Database
    ) -> None:
        body, import_id = jpeg(), begun(alice)
        own = str(alice.post("/items", {"filename": "own.jpg"}).body["item_id"])
        bring(bob, begun(bob), row(str(uuid4())))
        stages.run()
        kept = {name: stages.pipeline.rows(name) for name in ("alice", "bob")}
        ids = [str(uuid4()) for _ in range(3)]
        told = bring(alice, import_id, row(ids[0], body), row(ids[1]), row(ids[2], body))
        stages.upload(told[0]["upload"], body)
        assert len(stages.pipeline.stored("alice/")) == 3
        answer = alice.post(f"/imports/{import_id}/undo")
        assert answer.body == {"removed": 3, "left": 0}
        assert {name: stages.pipeline.rows(name) for name in ("alice", "bob")} == kept
        assert stages.pipeline.stored("alice/") == []
        assert [each["item_id"] for each in alice.get("/items").body["items"]] == [own]
        assert alice.post(f"/imports/{import_id}/undo").body == {"removed": 0, "left": 0}
        whole = alice.get(f"/imports/{import_id}").body
        assert whole["undone_at"]
        assert whole["items"]["total"] == whole["analyses"] == 0

    def test_goes_on_in_the_next_request(
        self, alice: Caller, stages: Stages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import_id = begun(alice)
        bring(alice, import_id, *(row(str(uuid4())) for _ in range(3)))
        monkeypatch.setattr(routes, "UNDO_SECONDS", 0.0)
        monkeypatch.setattr(imports, "UNDONE_TOGETHER", 1)
        lefts = [alice.post(f"/imports/{import_id}/undo").body["left"] for _ in range(2)]
        assert lefts == [2, 1]
        assert_problem(
            alice.post(f"/imports/{import_id}/items", {"items": [row(str(uuid4()))]}), 409, "import-undone"
        )
        begin = alice.post("/imports", {"fingerprint": FINGERPRINT, "name": "collection.db"})
        assert_problem(begin, 409, "import-undone")
        assert alice.post(f"/imports/{import_id}/undo").body == {"removed": 1, "left": 0}

    def test_the_same_source_can_be_imported_again(
        self, alice: Caller, stages: Stages, models: AnthropicServer
    ) -> None:
        item_id, body, import_id = str(uuid4()), jpeg(), begun(alice)
        coming = row(item_id, body)
        for _ in range(2):
            (told,) = bring(alice, begun(alice), coming)
            stages.upload(told["upload"], body)
            assert alice.get(f"/items/{item_id}").body["status"] == "ready"
            assert alice.post(f"/imports/{import_id}/undo").body == {"removed": 1, "left": 0}
        assert models.asked == []

    def test_what_is_uploaded_afterwards_is_removed_again(self, alice: Caller, stages: Stages) -> None:
        body, import_id = jpeg(), begun(alice)
        (told,) = bring(alice, import_id, row(str(uuid4()), body))
        alice.post(f"/imports/{import_id}/undo")
        stages.upload(told["upload"], body)
        assert stages.pipeline.stored("alice/") == []
        assert alice.get("/items").body["items"] == []

    def test_a_deletion_that_is_not_done_keeps_its_item_away(self, alice: Caller, db: Database) -> None:
        item_id, import_id = str(uuid4()), begun(alice)
        key = items.uploads_key("alice", UUID(item_id))
        db.execute("INSERT INTO deleted_items VALUES ('alice', %s, %s)", (item_id, key))
        (told,) = bring(alice, import_id, row(item_id))
        assert (told["status"], told["code"]) == ("refused", "being_deleted")
        db.execute("UPDATE deleted_items SET objects_removed_at = now()")
        (told,) = bring(alice, import_id, row(item_id))
        assert told["status"] == "imported"


class TestTheNightsWork:
    def test_describes_nothing_anew_that_was_imported(self, alice: Caller, stages: Stages) -> None:
        item_id = str(uuid4())
        bring(alice, begun(alice), row(item_id))
        stages.run()

        def selected(**select: bool) -> list[str]:
            asked = RunInput.model_validate(
                {"run_id": uuid4(), "kind": "nightly", "user_id": "alice", "select": select}
            )
            question = {"prompt_hash": "now", "providers": [{"provider": "offline", "model": "measured-1"}]}
            values = selection.names(asked, question, "hashed-words-1")
            return [found for _, found in selection.keys(values, selection.FIRST, 10)]

        assert selected(stale=True) == []
        assert selected(stale_prompt=True) == [item_id], "but for somebody who asks for it"
        assert selected(stale_model=True) == [item_id]

    def test_gives_an_upload_its_day_however_old_the_item_is(
        self, alice: Caller, stages: Stages, db: Database, models: AnthropicServer
    ) -> None:
        item_id, body, import_id = str(uuid4()), jpeg(), begun(alice)
        coming = row(item_id, body)
        bring(alice, import_id, coming)
        uploads = stages.pipeline.aws.uploads
        assert abandoned.expire(uploads, lambda: True) == 0
        db.execute("UPDATE items SET updated_at = now() - interval '25 hours'")
        assert abandoned.expire(uploads, lambda: True) == 1
        assert alice.get(f"/items/{item_id}").body["error"]["code"] == "gone"
        # The import goes on days later.
        (told,) = bring(alice, import_id, coming)
        stages.upload(told["upload"], body)
        assert alice.get(f"/items/{item_id}").body["status"] == "ready"
        assert models.asked == []

    def test_misses_no_object_of_an_item_that_has_none(
        self, alice: Caller, stages: Stages, db: Database
    ) -> None:
        bring(alice, begun(alice), row(str(uuid4())))
        stages.run()
        soon = datetime.now(UTC) + timedelta(days=1)
        for section in store.NAMED:
            assert list(store.named(section, "alice", "", soon)) == []


def test_an_import_that_nobody_has_is_not_found(alice: Caller) -> None:
    def answers(name: str) -> list[Answer]:
        return [
            alice.get(f"/imports/{name}"),
            alice.get(f"/imports/{name}/items"),
            alice.post(f"/imports/{name}/items", {"items": [row(str(uuid4()))]}),
            alice.post(f"/imports/{name}/undo"),
        ]

    for name in (str(uuid4()), "7"):
        for answer in answers(name):
            assert_problem(answer, 404, "import-not-found")
