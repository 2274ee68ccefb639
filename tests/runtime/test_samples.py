"""Every sample event, run by the built artifact under AWS's runtime emulator; its effect is looked at."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import psycopg
import pytest
import urllib3
from moto.ses.models import ses_backends

from shared import items
from tests.fakes import ses_events, sns, stripe_events, stripe_server, stripe_webhooks
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
        # Who nobody is, and what changes nothing, is known without asking. SNS is a server of its own here.
        silent = {"Api", "EmailWebhook", "PostConfirmation", "PreAuthentication"}
        assert calls or logical_id in silent, "nothing was recorded"
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
            is_json = answer["headers"].get("Content-Type") == "application/json"
            return json.loads(answer["body"]) if is_json else answer["body"]

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

    def test_create_items(self, story: Story, ask: Callable[..., Any]) -> None:
        created = ask("create_items", 201)["items"]
        rows = story.db.execute("SELECT item_id, filename FROM items ORDER BY created_at").fetchall()
        assert [row["filename"] for row in rows] == ["sunset.jpg", "harbour.heic"]
        assert [str(row["item_id"]) for row in rows] == [each["item_id"] for each in created]
        assert ask("create_items", 201)["items"][1]["item_id"] == created[1]["item_id"]
        assert len(story.db.execute("SELECT FROM items").fetchall()) == 2

    def test_change_item(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        item = ask("change_item")
        assert (item["filename"], item["category"]) == ("Evening at the harbour.jpg", "seascape")
        assert (item["tags"], item["analysis"]["category"]) == (["holidays", "2026"], "landscape")
        assert story.row("corrections")["category"] == "seascape"
        assert story.published()["detail-type"] == "EmbeddingRequested"

    def test_delete_item(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        assert not ask("delete_item", 204)
        assert story.db.execute("SELECT FROM items").fetchall() == []
        for bucket in (story.aws.uploads, story.aws.media):
            assert not story.aws.s3.list_object_versions(Bucket=bucket).keys() & {"Versions", "DeleteMarkers"}
        assert story.row("deleted_items")["objects_removed_at"]

    @pytest.mark.parametrize(
        ("sample", "heard"),
        [
            ("analyze_item", "AnalysisRequested"),
            ("resize_item", "RenditionRequested"),
            ("embed_item", "EmbeddingRequested"),
        ],
    )
    def test_actions(self, sample: str, heard: str, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        asked = ask(sample, 202)
        assert (asked["item_id"], asked["status"]) == (ITEM, "requested")
        published = story.published()
        assert published["detail-type"] == heard
        assert published["detail"]["data"].get("run_id", asked["run_id"]) == asked["run_id"]

    def test_histories(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        ask("change_item")
        assert [line["event"] for line in ask("list_timeline")["timeline"]] == ["corrected", "renamed"]
        (analysis,) = ask("list_analyses")["analyses"]
        assert (analysis["version"], analysis["current"]) == (1, True)

    def test_search(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        found = ask("search")
        assert found["mode"] == "hybrid"
        (hit,) = found["hits"]
        assert hit["item_id"] == ITEM
        assert hit["score"] > hit["text_score"] > 0
        assert hit["vector_score"] > 0

    def test_search_by_post(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        (hit,) = ask("search_by_post")["hits"]
        assert hit["item_id"] == ITEM
        assert hit["explanation"]["text_position"] == 1
        assert hit["highlights"]

    def test_similar(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        found = ask("similar")
        assert (found["item_id"], found["hits"], found["notes"]) == (ITEM, [], [])

    def test_duplicates(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        assert ask("duplicates") == {"groups": [], "next_cursor": None, "notes": []}

    def test_health(self, ask: Callable[..., Any]) -> None:
        assert ask("health") == {"status": "ok", "checks": {"database": "ok"}}

    def test_version(self, story: Story, ask: Callable[..., Any]) -> None:
        sign_in = ask("version")["sign_in"]
        assert sign_in["user_pool_id"] == story.aws.resources.ref("UserPool")

    def test_openapi(self, ask: Callable[..., Any]) -> None:
        assert ask("openapi")["openapi"] == "3.1.0"

    def test_docs(self, ask: Callable[..., Any]) -> None:
        assert "<h1>Magpie API</h1>" in ask("docs")

    def test_usage(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        used = ask("usage")
        assert (used["from"], used["to"]) == ("2026-11-01", "2026-11-30")
        assert used["storage"]["items"] == 1

    def test_categories(self, story: Story, ask: Callable[..., Any]) -> None:
        story.ready()
        assert ask("categories")["categories"] == [{"category": "landscape", "items": 1}]

    def test_me(self, ask: Callable[..., Any]) -> None:
        assert (ask("me")["user_id"], ask("me")["tier"]) == (USER, "free")

    def test_change_me(self, story: Story, ask: Callable[..., Any]) -> None:
        assert ask("change_me")["notifications"] == {"scan_complete": True, "quota": False}

    def test_export(self, story: Story, ask: Callable[..., Any]) -> None:
        assert ask("export", 202)["status"] == "running"
        (told,) = story.aws.published()
        assert (told["detail-type"], told["detail"]["data"]["user_id"]) == ("ExportRequested", USER)

    def test_erase_me_and_erasure(self, story: Story, ask: Callable[..., Any]) -> None:
        asked = ask("erase_me", 202)
        (told,) = story.aws.published()
        assert told["detail-type"] == "ErasureRequested"
        assert told["detail"]["data"]["erasure_id"] == asked["receipt_id"]
        story.db.execute("UPDATE erasures SET finished_at = now()")
        assert ask("erasure")["receipt_id"] == asked["receipt_id"]


class TestExporter:
    @pytest.fixture(params=["queue", "envelope", "direct"])
    def sample(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def test_everything_is_in_one_file(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        story.ready()
        export_id = story.sample("exporter/direct")["export_id"]
        story.db.execute("INSERT INTO exports (user_id, export_id) VALUES (%s, %s)", (USER, export_id))
        answer = invoke("Exporter", story.sample(f"exporter/{sample}"))
        assert answer == ALL_DONE if sample == "queue" else answer["status"] == "succeeded"

        (row,) = story.db.execute("SELECT status, object_key FROM exports").fetchall()
        assert row["status"] == "succeeded"
        stored = story.aws.s3.get_object(Bucket=story.aws.media, Key=row["object_key"])
        header, *lines = map(json.loads, gzip.decompress(stored["Body"].read()).splitlines())
        assert header["counts"]["items"] == 1
        (item,) = [line for line in lines if line["table"] == "items"]
        assert urllib3.request("GET", item["objects"]["original"]["url"]).data == photograph()
        # Signed by the function: its role has to allow what the URLs do.
        may = permissions.statements(story.aws.template, story.aws.resources, "Exporter")
        for name, action, bucket in (
            ("original", "s3:GetObjectVersion", story.aws.uploads),
            ("image", "s3:GetObject", story.aws.media),
        ):
            key = item["objects"][name]["key"]
            assert permissions.allowed(Call(action, f"arn:aws:s3:::{bucket}/{key}"), may)


class TestEraser:
    @pytest.fixture(params=["queue", "envelope", "direct"])
    def sample(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def test_nothing_is_left(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        story.ready()
        if sample != "direct":
            asked = story.sample("eraser/envelope")["detail"]["data"]["erasure_id"]
            story.db.execute("INSERT INTO erasures (user_id, erasure_id) VALUES (%s, %s)", (USER, asked))
        upload = {"Bucket": story.aws.media, "Key": f"{USER}/exports/half"}
        story.aws.s3.create_multipart_upload(**upload)
        execution = story.at_work("0b8f6c9e-5d0a-4f0e-8f60-1f4a1c7f9d22")
        answer = invoke("Eraser", story.sample(f"eraser/{sample}"))
        assert answer == ALL_DONE if sample == "queue" else answer["status"] == "erased"

        (row,) = story.db.execute("SELECT finished_at, removed FROM erasures").fetchall()
        assert row["finished_at"] is not None
        assert (row["removed"]["rows"]["items"], row["removed"]["objects"]) == (1, 3)
        assert story.db.execute("SELECT FROM items").fetchall() == []
        found = story.aws.client("stepfunctions").describe_execution(executionArn=execution)
        assert found["status"] == "ABORTED"
        for bucket in (story.aws.uploads, story.aws.media):
            assert "Versions" not in story.aws.s3.list_object_versions(Bucket=bucket)
        assert "Uploads" not in story.aws.s3.list_multipart_uploads(Bucket=story.aws.media)

    def test_nobody_signs_in_any_more(self, story: Story, invoke: Callable[..., Any]) -> None:
        cognito, pool = story.aws.client("cognito-idp"), story.aws.resources.ref("UserPool")
        made = cognito.admin_create_user(UserPoolId=pool, Username="ada@example.com")["User"]
        sub = next(each["Value"] for each in made["Attributes"] if each["Name"] == "sub")
        answer = invoke("Eraser", story.sample("eraser/direct") | {"user_id": sub})
        assert answer["removed"]["cognito_user"] is True
        assert cognito.list_users(UserPoolId=pool)["Users"] == []


class TestSignIn:
    """Cognito's triggers: each gives the event back as it came."""

    def audited(self, story: Story) -> list[tuple[str, str]]:
        rows = story.db.execute("SELECT event, outcome FROM audit_log ORDER BY audit_id").fetchall()
        return [(row["event"], row["outcome"]) for row in rows]

    @pytest.mark.parametrize("sample", ["sign_up", "admin_create_user", "external_provider"])
    def test_pre_sign_up(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        event = story.sample(f"pre_sign_up/{sample}")
        assert invoke("PreSignUp", event, ALLOWED_EMAIL_DOMAINS="example.com") == event

    @pytest.mark.parametrize("sample", ["confirm_sign_up", "confirm_forgot_password"])
    def test_post_confirmation(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        event = story.sample(f"post_confirmation/{sample}")
        assert invoke("PostConfirmation", event) == event
        rows = story.db.execute("SELECT user_id, email, subscription_tier FROM user_profiles").fetchall()
        expected = [(USER, "ada@example.com", "free")] if sample == "confirm_sign_up" else []
        assert [tuple(row.values()) for row in rows] == expected

    @pytest.mark.parametrize("sample", ["sign_in", "user_not_found", "renewal"])
    def test_pre_authentication(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        event = story.sample(f"pre_authentication/{sample}")
        assert invoke("PreAuthentication", event) == event
        assert self.audited(story) == ([("sign_in", "allowed")] if sample == "sign_in" else [])

    def test_a_refusal_is_what_cognito_shows(self, story: Story, lambda_function: Run) -> None:
        answer = lambda_function("PreSignUp").invoke(story.sample("pre_sign_up/sign_up"), seconds=60)
        assert answer.failed
        assert answer.payload["errorMessage"].startswith("Nobody can sign up here by themselves")


class TestRuns:
    RUN = "0b8f6c9e-5d0a-4f0e-8f60-1f4a1c7f9d22"

    def row(self, story: Story) -> dict[str, Any]:
        (row,) = story.db.execute("SELECT * FROM scan_runs").fetchall()
        assert (row["user_id"], str(row["run_id"])) == (USER, self.RUN)
        return row

    def begun(self, story: Story) -> None:
        """The run that the samples speak of is at work, and so is its execution."""
        story.at_work(self.RUN)

    def test_the_analyzer_tells_what_is_asked(self, story: Story, invoke: Callable[..., Any]) -> None:
        told = invoke("Analyzer", story.sample("analyzer/question"))
        assert len(told["prompt_hash"]) == 64
        assert told["providers"][0] == {
            "provider": "offline",
            "model": "measured-1",
            "input_usd": 0,
            "output_usd": 0,
        }

    def test_a_manifest_is_written(self, story: Story, invoke: Callable[..., Any]) -> None:
        story.ready()
        planned = invoke("ScanPlanner", story.sample("scan_planner/direct"))
        assert (planned["items"], planned["dry_run"]) == (1, False)
        body = story.aws.s3.get_object(Bucket=planned["bucket"], Key=planned["manifest"])["Body"].read()
        assert body.decode().splitlines() == ["user_id,item_id,key", f"{USER},{ITEM},"]
        assert self.row(story)["status"] == "running"

    def test_a_dry_run(self, story: Story, invoke: Callable[..., Any]) -> None:
        story.ready()
        planned = invoke("ScanPlanner", story.sample("scan_planner/dry_run"))
        assert planned["dry_run"]
        row = self.row(story)
        assert row["status"] == "planned"
        assert row["estimate"]["analyses"] == 1
        assert 0.001 < row["estimate"]["usd"] < 0.1

    def test_what_became_of_an_item(self, story: Story, invoke: Callable[..., Any]) -> None:
        self.begun(story)
        assert invoke("ScanRecorder", story.sample("scan_recorder/direct")) == {"outcome": "done"}
        assert story.row("scan_results")["on_embed"] == "done"

    def test_a_failure_is_kept_and_passed_on(self, story: Story, lambda_function: Run) -> None:
        self.begun(story)
        answer = lambda_function("ScanRecorder").invoke(story.sample("scan_recorder/failure"), seconds=60)
        assert answer.failed
        assert answer.payload["errorType"] == "ItemFailedError"
        kept = story.row("scan_results")
        assert (kept["stage"], kept["code"]) == ("analyze", "TransientError")
        assert kept["message"] == "anthropic: throttled"

    def test_objects_are_compared_with_rows(self, story: Story, invoke: Callable[..., Any]) -> None:
        story.ready()
        story.db.execute("UPDATE items SET updated_at = now() - interval '1 day'")
        story.aws.s3.delete_object(Bucket=story.aws.media, Key=items.thumbnail_key(USER, ITEM))
        assert "next" not in invoke("ScanChecker", story.sample("scan_checker/direct"))
        assert story.row("scan_findings")["kind"] == "thumbnails_missing"

    @pytest.mark.parametrize("sample", ["queue", "envelope", "direct"])
    def test_a_run_is_closed(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        self.begun(story)
        execution = story.sample("scan_reporter/envelope")["detail"]["executionArn"]
        if sample != "direct":
            story.aws.client("stepfunctions").stop_execution(executionArn=execution)
        answer = invoke("ScanReporter", story.sample(f"scan_reporter/{sample}"))
        expected = "succeeded" if sample == "direct" else "cancelled"
        assert answer == ALL_DONE if sample == "queue" else answer["status"] == expected
        row = self.row(story)
        assert row["status"] == expected
        report = story.aws.s3.get_object(Bucket=story.aws.media, Key=f"{row['report_key']}.html")
        assert b"<svg" in report["Body"].read()
        (event,) = story.aws.published()
        assert (event["detail-type"], event["detail"]["data"]["run_id"]) == ("ScanComplete", self.RUN)

    def test_nothing_is_reported_of_who_is_erased_and_nothing_stays(
        self, story: Story, invoke: Callable[..., Any]
    ) -> None:
        self.begun(story)
        story.db.execute("INSERT INTO erasures (user_id, erasure_id) VALUES (%s, gen_random_uuid())", (USER,))
        key = f"*/runs/{USER}/{self.RUN}/results/manifest.json"
        story.aws.s3.put_object(Bucket=story.aws.media, Key=key, Body=b"{}")
        assert invoke("ScanReporter", story.sample("scan_reporter/direct")) == {"status": "ignored"}
        assert "Versions" not in story.aws.s3.list_object_versions(Bucket=story.aws.media)


def test_limits_that_have_changed_send_on_what_waited_for_them(
    story: Story, invoke: Callable[..., Any]
) -> None:
    story.processed()
    story.db.execute(
        "UPDATE items SET status = 'over_quota', held_status = 'processed', error_code = 'model_usd'"
    )
    assert invoke("Sweeper", story.sample("sweeper/limits_changed")) == ALL_DONE
    queue = story.aws.resources.ref("AnalyzerQueue")
    (message,) = story.aws.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["detail"]["data"]["item_id"] == ITEM


@pytest.mark.parametrize("sample", ["schedule", "queue"])
class TestSchedules:
    def test_a_scan_that_is_due_is_started(
        self, sample: str, story: Story, invoke: Callable[..., Any]
    ) -> None:
        story.db.execute(
            """
            INSERT INTO scans (user_id, scan_id, name, work, schedule, zone, next_run_at)
            VALUES (%s, gen_random_uuid(), 'Objects', '{"check": "objects", "stages": ["embed"]}',
                    '{"every": "day", "at": "03:00"}', 'Europe/Berlin', now())
            """,
            (USER,),
        )
        answer = invoke("ScanTick", story.sample(f"scan_tick/{sample}"))
        assert answer == (ALL_DONE if sample == "queue" else {"started": 1})
        (row,) = story.db.execute("SELECT kind, execution_arn FROM scan_runs").fetchall()
        assert row["kind"] == "scan"
        found = story.aws.client("stepfunctions").describe_execution(executionArn=row["execution_arn"])
        assert json.loads(found["input"])["check"] == "objects"

    def test_what_sits_still_is_sent_round(
        self, sample: str, story: Story, invoke: Callable[..., Any]
    ) -> None:
        story.processed()
        story.db.execute("UPDATE items SET updated_at = now() - interval '1 hour'")
        answer = invoke("Sweeper", story.sample(f"sweeper/{sample}"))
        assert answer == ALL_DONE if sample == "queue" else answer["sent"] == 1
        queue = story.aws.resources.ref("AnalyzerQueue")
        (message,) = story.aws.client("sqs").receive_message(QueueUrl=queue)["Messages"]
        assert json.loads(message["Body"])["detail"]["data"]["item_id"] == ITEM

    def test_a_night(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        story.pending()
        story.db.execute("UPDATE items SET updated_at = now() - interval '2 days'")
        # Half a deletion, an erasure whose message is lost, and a run of long ago.
        story.db.execute(
            """
            INSERT INTO deleted_items (user_id, item_id, object_key, deleted_at)
            VALUES (%(user)s, %(item)s, %(user)s || '/cat.jpg', now() - interval '1 hour');
            INSERT INTO erasures (user_id, erasure_id, requested_at)
            VALUES ('somebody', gen_random_uuid(), now() - interval '1 day');
            INSERT INTO scan_runs (user_id, run_id, kind, request, finished_at, report_key)
            VALUES (%(user)s, gen_random_uuid(), 'scan', '{}', now() - interval '2 years',
                    %(user)s || '/reports/1');
            """.replace("%(user)s", f"'{USER}'").replace("%(item)s", f"'{ITEM}'")
        )
        for bucket, key in (
            (story.aws.uploads, f"{USER}/cat.jpg"),
            (story.aws.media, items.image_key(USER, ITEM)),
            (story.aws.media, f"{USER}/reports/1.html"),
        ):
            story.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        answer = invoke("Nightly", story.sample(f"nightly/{sample}"))
        assert answer == ALL_DONE if sample == "queue" else answer["expired"] == 1
        assert len(story.db.execute("SELECT FROM scan_runs").fetchall()) == 2
        assert story.row("items")["status"] == "failed"
        for bucket in (story.aws.uploads, story.aws.media):
            assert "Versions" not in story.aws.s3.list_object_versions(Bucket=bucket)
        assert {event["detail-type"] for event in story.aws.published()} == {
            "ItemRejected",
            "ErasureRequested",
        }


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


class TestEmailWebhook:
    @pytest.fixture
    def amazon(self) -> Iterator[sns.Sns]:
        with sns.serve() as server:
            yield server

    @pytest.fixture
    def post(self, story: Story, invoke: Callable[..., Any], amazon: sns.Sns) -> Callable[[str], int]:
        def post(name: str) -> int:
            """A sample of this moment, signed by the key that the test knows."""
            request = story.sample(f"email_webhook/{name}")
            said = json.loads(request["body"]) | {"Timestamp": sns.stamp()}
            sent = request | {"body": json.dumps(sns.signed(said))}
            status: int = invoke("EmailWebhook", sent, AWS_ENDPOINT_URL_SNS=amazon.url)["statusCode"]
            return status

        return post

    def test_a_notification_is_kept_and_passed_on(self, story: Story, post: Callable[[str], int]) -> None:
        assert post("notification") == 200
        row = story.db.execute("SELECT * FROM webhook_events").fetchone()
        assert row
        assert (row["provider"], row["event_type"], row["subject"]) == ("sns", "Bounce", ses_events.MAIL)
        (published,) = story.aws.published()
        assert published["detail-type"] == "WebhookReceived"
        assert published["detail"]["data"]["event_id"] == row["event_id"]

    def test_a_subscription_is_confirmed(
        self, story: Story, post: Callable[[str], int], amazon: sns.Sns
    ) -> None:
        assert post("subscription_confirmation") == 200
        (asked,) = amazon.confirmed
        may = permissions.statements(story.aws.template, story.aws.resources, "EmailWebhook")
        assert permissions.allowed(Call(f"sns:{asked['Action']}", asked["TopicArn"]), may)

    def test_one_that_has_ended_is_only_noted(self, post: Callable[[str], int], amazon: sns.Sns) -> None:
        assert post("unsubscribe_confirmation") == 200
        assert amazon.confirmed == []


class TestEmailEvents:
    @pytest.mark.parametrize("sample", ["queue", "envelope", "delivered"])
    def test_what_became_of_a_mail_is_kept(
        self, sample: str, story: Story, invoke: Callable[..., Any]
    ) -> None:
        event = story.sample(f"email_events/{sample}")
        if sample == "delivered":
            said = json.dumps({"Message": json.dumps(ses_events.bounce(user_id=USER))})
            event_id = json.loads(event["Records"][0]["body"])["detail"]["data"]["event_id"]
            story.db.execute(
                """
                INSERT INTO webhook_events (provider, event_id, event_type, occurred_at, body)
                VALUES ('sns', %s, 'Bounce', now(), %s)
                """,
                (event_id, said),
            )
        answer = invoke("EmailEvents", event)
        assert answer == {"status": "kept"} if sample == "envelope" else answer == ALL_DONE
        (row,) = story.db.execute("SELECT * FROM email_events").fetchall()
        assert (row["event_type"], row["message_id"]) == ("Bounce", ses_events.MAIL)

    def test_an_operator_reads_and_changes_the_list(self, story: Story, invoke: Callable[..., Any]) -> None:
        def ask(name: str) -> Any:
            return invoke("EmailEvents", story.sample(f"email_events/{name}"))

        assert ask("suppress")["suppressed"] is True
        assert [entry["reason"] for entry in ask("suppressed")["addresses"]] == ["operator"]
        assert ask("lift")["lifted"] is True
        assert ask("suppressed") == {"addresses": [], "next": None}


class TestMailer:
    @pytest.mark.parametrize("sample", ["queue", "envelope", "direct"])
    def test_who_asked_is_written_to(self, sample: str, story: Story, invoke: Callable[..., Any]) -> None:
        run_id = story.sample("mailer/direct")["run_id"]
        story.at_work(run_id)
        story.db.execute(
            """
            INSERT INTO user_profiles (user_id, email, subscription_tier, usage_limits, notifications)
            VALUES (%s, 'ada@example.com', 'free', '{}', '{"scan_complete": true, "quota": true}')
            """,
            (USER,),
        )
        story.aws.client("ses").verify_email_identity(EmailAddress="magpie@example.com")
        answer = invoke("Mailer", story.sample(f"mailer/{sample}"), MAIL_FROM="magpie@example.com")
        assert answer == ALL_DONE if sample == "queue" else answer == {"status": "sent"}

        (row,) = story.db.execute("SELECT kind, occasion, status, region FROM mails").fetchall()
        expected = ("quota", "model_usd/2026-11") if sample == "queue" else ("scan_complete", run_id)
        assert tuple(row.values()) == (*expected, "sent", "us-east-1")
        (mail,) = ses_backends["123456789012"]["us-east-1"].sent_messages
        assert mail.destinations == {"ToAddresses": ["ada@example.com"]}
        assert mail.subject.startswith("This month" if sample == "queue" else "Your")


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


class TestWebhooks:
    """What Stripe says, and what an operator sees of it."""

    SECRETS = "/magpie/dev/stripe-webhook-secrets"

    def taken(self, story: Story, invoke: Callable[..., Any]) -> dict[str, Any]:
        story.aws.put_parameter(self.SECRETS, f"whsec_the_one_before,{stripe_webhooks.SECRET}")
        sample = story.sample("stripe_webhook/delivery")
        sample["headers"]["stripe-signature"] = stripe_webhooks.header(sample["body"])
        answer: dict[str, Any] = invoke("StripeWebhook", sample)
        return answer

    def test_a_delivery_is_kept_and_published(self, story: Story, invoke: Callable[..., Any]) -> None:
        assert self.taken(story, invoke)["statusCode"] == 200
        (row,) = story.db.execute("SELECT event_id, user_id, subject FROM webhook_events").fetchall()
        assert tuple(row.values()) == ("evt_1SVexampleCreated", None, "cus_ExampleLocal")
        (published,) = story.aws.published()
        assert published["detail-type"] == "WebhookReceived"
        assert published["detail"]["data"]["event_type"] == "customer.subscription.created"

    def test_one_of_long_ago_is_refused(self, story: Story, invoke: Callable[..., Any]) -> None:
        story.aws.put_parameter(self.SECRETS, stripe_webhooks.SECRET)
        answer = invoke("StripeWebhook", story.sample("stripe_webhook/delivery"))
        assert (answer["statusCode"], json.loads(answer["body"])) == (400, {"received": False})

    def test_an_operator_lists_shows_and_replays_it(self, story: Story, invoke: Callable[..., Any]) -> None:
        self.taken(story, invoke)
        assert len(story.aws.published()) == 1
        story.db.execute("UPDATE webhook_events SET outcome = 'waiting'")
        (listed,) = invoke("Webhooks", story.sample("webhooks/list"))["events"]
        assert listed["event_id"] == "evt_1SVexampleCreated"
        (shown,) = invoke("Webhooks", story.sample("webhooks/show"))["events"]
        assert shown["body"]["data"]["object"]["status"] == "active"
        assert invoke("Webhooks", story.sample("webhooks/replay"))["replayed"] == 1
        (published,) = story.aws.published()
        assert published["detail"]["data"]["event_id"] == "evt_1SVexampleCreated"


class TestBilling:
    def test_what_stripe_told_becomes_a_tier(self, story: Story, invoke: Callable[..., Any]) -> None:
        made = stripe_events.event("customer.subscription.created", 1, user=USER, customer="cus_1")
        story.db.execute(
            """
            INSERT INTO user_profiles (user_id, subscription_tier, usage_limits) VALUES (%s, 'free', '{}')
            """,
            (USER,),
        )
        story.db.execute(
            """
            INSERT INTO webhook_events (provider, event_id, event_type, subject, occurred_at, body)
            VALUES ('stripe', 'evt_1SVexampleCreated', %s, 'cus_1', now(), %s)
            """,
            (made["type"], stripe_events.body(made | {"id": "evt_1SVexampleCreated"})),
        )
        for sample in ("queue", "envelope", "direct"):
            answer = invoke("Billing", story.sample(f"billing/{sample}"))
            assert answer == ALL_DONE if sample == "queue" else answer["outcome"] == "applied"
            (told,) = story.aws.published()
            assert told["detail"]["data"] == {"user_id": USER, "tier": "plus"}
        (row,) = story.db.execute(
            "SELECT subscription_tier, stripe_customer_id FROM user_profiles"
        ).fetchall()
        assert tuple(row.values()) == ("plus", "cus_1")

    def test_the_ways_to_stripes_pages(self, story: Story, invoke: Callable[..., Any]) -> None:
        story.aws.put_parameter("/magpie/dev/stripe-secret-key", stripe_server.KEY)
        story.db.execute(
            """
            INSERT INTO user_profiles (user_id, subscription_tier, usage_limits, stripe_customer_id)
            VALUES (%s, 'free', '{}', 'cus_1')
            """,
            (USER,),
        )
        with stripe_server.running() as server:
            for name in ("begin_checkout", "open_portal"):
                request = story.sample(f"api/{name}")
                client = request["requestContext"]["authorizer"]["jwt"]["claims"]["client_id"]
                answer = invoke("Api", request, USER_POOL_CLIENT_ID=client, STRIPE_BASE_URL=server.base_url)
                assert answer["statusCode"] == 201, answer
                assert ".stripe.com/" in json.loads(answer["body"])["url"]


RUN_ABOVE = {
    *(
        f"{stage}/{way}"
        for stage in ("image_processor", "analyzer", "embedder", "exporter", "eraser", "mailer", "billing")
        for way in ("queue", "envelope", "direct")
    ),
    *(f"api/{name}" for name in ("create_item", "get_item", "list_items", "search", "health", "version")),
    *(f"api/{name}" for name in ("openapi", "docs")),
    *(f"api/{name}" for name in ("search_by_post", "similar", "duplicates")),
    *(
        f"api/{name}"
        for name in ("create_items", "change_item", "delete_item", "list_timeline", "list_analyses")
    ),
    *(f"api/{name}" for name in ("analyze_item", "resize_item", "embed_item")),
    *(f"api/{name}" for name in ("begin_checkout", "open_portal")),
    *(f"api/{name}" for name in ("usage", "categories", "me", "change_me", "export", "erase_me", "erasure")),
    "email_webhook/notification",
    *(f"email_webhook/{name}_confirmation" for name in ("subscription", "unsubscribe")),
    *(f"email_events/{way}" for way in ("queue", "envelope", "delivered")),
    *(f"email_events/{action}" for action in ("suppressed", "suppress", "lift")),
    "migrate/direct",
    "migrate/custom_resource",
    "analyzer/question",
    *(f"scan_planner/{name}" for name in ("direct", "dry_run")),
    *(f"scan_recorder/{name}" for name in ("direct", "failure")),
    "scan_checker/direct",
    *(
        f"{function}/{way}"
        for function in ("scan_tick", "sweeper", "nightly")
        for way in ("schedule", "queue")
    ),
    "sweeper/limits_changed",
    *(f"scan_reporter/{way}" for way in ("queue", "envelope", "direct")),
    "stripe_webhook/delivery",
    *(f"webhooks/{action}" for action in ("list", "show", "replay")),
    *(f"pre_sign_up/{name}" for name in ("sign_up", "admin_create_user", "external_provider")),
    *(f"post_confirmation/{name}" for name in ("confirm_sign_up", "confirm_forgot_password")),
    *(f"pre_authentication/{name}" for name in ("sign_in", "user_not_found", "renewal")),
}


def test_every_sample_is_run_above() -> None:
    there = {f"{path.parent.name}/{path.stem}" for path in (ROOT / "events" / "samples").glob("*/*.json")}
    assert there == RUN_ABOVE
