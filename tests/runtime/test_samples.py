"""Every sample event, run by the built artifact under AWS's runtime emulator; its effect is looked at."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import psycopg
import pytest
import urllib3

from shared import items
from tests.runtime import permissions
from tests.runtime.artifact import ROOT
from tests.runtime.conftest import Answer, Aws, Emulator, access_key
from tests.runtime.permissions import Call
from tests.runtime.story import CORRELATION, ITEM, USER, Story, photograph

Run = Callable[..., Emulator]


@pytest.fixture
def story(db: "psycopg.Connection[dict[str, Any]]", aws: Aws) -> Story:
    return Story(db, aws)


@pytest.fixture
def invoke(lambda_function: Run, aws: Aws) -> Iterator[Callable[..., Any]]:
    """Invoke a function; what it returned. In the end, its role has to allow whatever it did."""
    started: dict[str, Emulator] = {}

    def run(logical_id: str, event: Any, **settings: str) -> Any:
        if logical_id not in started:
            started[logical_id] = lambda_function(logical_id, **settings)
        answer: Answer = started[logical_id].invoke(event, seconds=60)
        assert not answer.failed, f"{answer.payload}\n{answer.log}"
        return answer.payload

    yield run
    assert started
    for logical_id in started:
        may = permissions.statements(aws.template, aws.resources, logical_id)
        calls = aws.recorder.of(access_key(logical_id))
        assert calls or logical_id == "Api", "nothing was recorded"
        assert [call for call in calls if not permissions.allowed(call, may)] == []


ALL_DONE = {"batchItemFailures": []}


class TestImageProcessor:
    @pytest.fixture(params=["queue", "envelope", "direct"])
    def sample(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def test_an_original_becomes_web_image_and_thumbnail(
        self, sample: str, story: Story, invoke: Callable[..., Any]
    ) -> None:
        story.uploaded()
        story.pending()
        answer = invoke("ImageProcessor", story.sample(f"image_processor/{sample}"))
        assert answer == ALL_DONE if sample == "queue" else answer["status"] == "processed"

        row = story.row("items")
        assert (row["status"], row["format"], row["width"], row["height"]) == ("processed", "JPEG", 640, 427)
        assert row["object_version"] == story.version
        assert row["file_size"] == len(photograph())
        assert story.object(items.image_key(USER, ITEM)).size == (640, 427)
        thumbnail = story.object(items.thumbnail_key(USER, ITEM))
        assert (thumbnail.format, max(thumbnail.size)) == ("WEBP", 512)
        published = story.published()
        assert published["detail-type"] == "ImageProcessed"
        assert published["detail"]["metadata"]["correlation_id"] == CORRELATION


class TestAnalyzer:
    @pytest.fixture(params=["queue", "envelope", "direct"])
    def sample(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def test_a_picture_is_described(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        story.processed()
        answer = invoke("Analyzer", story.sample(f"analyzer/{sample}"))
        assert answer == ALL_DONE if sample == "queue" else answer["status"] == "analyzed"

        analysis = story.row("analyses")
        assert analysis["provider_used"] == "offline"
        assert analysis["raw_response"]["headline"] == analysis["headline"]
        row = story.row("items")
        assert (row["status"], row["analysis_version"]) == ("analyzed", 1)
        assert story.row("search_documents")["document"]
        published = story.published()
        assert published["detail-type"] == "AnalysisComplete"
        if sample != "direct":
            assert published["detail"]["metadata"]["correlation_id"] == CORRELATION


class TestEmbedder:
    @pytest.fixture(params=["queue", "envelope", "direct"])
    def sample(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def test_an_analysis_becomes_a_vector(
        self, sample: str, story: Story, invoke: Callable[..., Any]
    ) -> None:
        story.analyzed()
        answer = invoke("Embedder", story.sample(f"embedder/{sample}"))
        assert answer == ALL_DONE if sample == "queue" else answer["outcome"] == "EmbeddingComplete"

        vector = story.row("embeddings")
        assert (vector["model"], vector["dimensions"]) == ("hashed-words-1", 1024)
        assert story.row("items")["status"] == "ready"
        published = story.published()
        assert published["detail-type"] == "EmbeddingComplete"


class TestApi:
    @pytest.fixture
    def ask(self, story: Story, invoke: Callable[..., Any]) -> Callable[..., Any]:
        def ask(name: str, status: int = 200) -> Any:
            request = story.sample(f"api/{name}")
            claims = request["requestContext"].get("authorizer", {}).get("jwt", {}).get("claims", {})
            client = claims.get("client_id") or story.aws.resources.ref("UserPoolClient")
            answer = invoke("Api", request, USER_POOL_CLIENT_ID=client)
            assert answer["statusCode"] == status, answer
            return json.loads(answer["body"])

        return ask

    def test_create_item(self, story: Story, ask: Callable[..., Any]) -> None:
        created = ask("create_item", 201)
        (row,) = story.db.execute("SELECT * FROM items").fetchall()
        assert (row["user_id"], str(row["item_id"]), row["status"]) == (USER, created["item_id"], "pending")
        # The form does what it is for, and the role that signed it may do that.
        form = created["upload"]
        fields = {**form["fields"], "file": ("sunset.jpg", photograph())}
        sent = urllib3.request("POST", form["url"], fields=fields)
        assert sent.status in (200, 201, 204), sent.data
        key = f"{USER}/{created['item_id']}/original"
        stored = story.aws.s3.get_object(Bucket=story.aws.uploads, Key=key)
        assert stored["Body"].read() == photograph()
        may = permissions.statements(story.aws.template, story.aws.resources, "Api")
        assert permissions.allowed(Call("s3:PutObject", f"arn:aws:s3:::{story.aws.uploads}/{key}"), may)
        # The same request again is the same item.
        assert ask("create_item", 201)["item_id"] == created["item_id"]
        assert len(story.db.execute("SELECT FROM items").fetchall()) == 1

    def test_get_item(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        item = ask("get_item")
        assert (item["item_id"], item["status"]) == (ITEM, "ready")
        assert item["analysis"]["headline"] == "A golden sunset over the sea"
        for kind, starts in (("image", b"\xff\xd8"), ("thumbnail", b"RIFF"), ("original", b"\xff\xd8")):
            # Signed by the function: its role has to allow what the URL does.
            shown = urllib3.request("GET", item["views"][kind])
            assert shown.status == 200, shown.data
            assert shown.data.startswith(starts)

    def test_list_items(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        page = ask("list_items")
        assert [item["item_id"] for item in page["items"]] == [ITEM]
        assert page["next_cursor"] is None

    def test_search(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        found = ask("search")
        assert found["mode"] == "hybrid"
        (hit,) = found["hits"]
        assert (hit["item_id"], hit["text_position"], hit["vector_position"]) == (ITEM, 1, 1)

    def test_health(self, ask: Callable[..., Any]) -> None:
        assert ask("health") == {"status": "ok", "checks": {"database": "ok"}}

    def test_version(self, story: Story, ask: Callable[..., Any]) -> None:
        sign_in = ask("version")["sign_in"]
        assert sign_in["user_pool_id"] == story.aws.resources.ref("UserPool")


class CloudFormation:
    """Where a custom resource's answer is put: a presigned URL on AWS."""

    def __init__(self) -> None:
        answers: list[dict[str, Any]] = []
        self.answers = answers

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/answer"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    server = CloudFormation()
    yield server
    server.stop()


class TestMigrate:
    def tables(self, url: str) -> set[str]:
        with psycopg.connect(url) as connection:
            rows = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
        return {row[0] for row in rows}

    def test_direct(self, story: Story, invoke: Callable[..., Any], empty_database_url: str) -> None:
        event = story.sample("migrate/direct")
        first = invoke("Migrate", event, database=empty_database_url)
        assert "0001_foundation.sql" in first["applied"]
        assert {"items", "analyses", "embeddings"} <= self.tables(empty_database_url)
        assert invoke("Migrate", event) == {"applied": []}

    def test_custom_resource(
        self,
        story: Story,
        invoke: Callable[..., Any],
        empty_database_url: str,
        cloudformation: CloudFormation,
    ) -> None:
        request = story.sample("migrate/custom_resource") | {"ResponseURL": cloudformation.url}
        invoke("Migrate", request, database=empty_database_url)
        (told,) = cloudformation.answers
        assert told["Status"] == "SUCCESS"
        assert told["RequestId"] == request["RequestId"]
        assert "items" in self.tables(empty_database_url)


RUN_ABOVE = {
    *(
        f"{stage}/{way}"
        for stage in ("image_processor", "analyzer", "embedder")
        for way in ("queue", "envelope", "direct")
    ),
    *(f"api/{name}" for name in ("create_item", "get_item", "list_items", "search", "health", "version")),
    "migrate/direct",
    "migrate/custom_resource",
}


def test_every_sample_is_run_above() -> None:
    there = {f"{path.parent.name}/{path.stem}" for path in (ROOT / "events" / "samples").glob("*/*.json")}
    assert there == RUN_ABOVE
