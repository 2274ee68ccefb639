"""Runs as the API offers them: started, shown, listed, cancelled; and what planner and recorder decide."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import psycopg
import pytest

from functions.api import runs as api_runs
from functions.scan_checker import handler as checker
from functions.scan_checker import store as checked
from functions.scan_checker.compare import Difference
from functions.scan_planner import handler as planner
from functions.scan_planner import manifest, plan, record, selection
from functions.scan_planner.handler import ToPlan
from functions.scan_recorder.handler import ItemFailedError
from functions.scan_recorder.handler import lambda_handler as recorded
from shared import database, erasures, items, launching, quotas, runs
from shared.erasures import AccountDeletedError
from shared.runs import RunInput
from tests.conftest import Aws, LambdaContext, client
from tests.fakes import money
from tests.fakes.http_api import Answer, Caller
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]
QUESTION = {
    "prompt_hash": "now",
    "providers": [{"provider": "anthropic", "model": "m-2", "input_usd": 1.0, "output_usd": 5.0}],
}


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    function_env("ScanPlanner", EMBEDDER="offline")
    function_env("ScanRecorder")
    return function_env("Api", EMBEDDER="offline")


def kind(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["type"].rpartition(":")[2]


def executions(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Input of every execution, by its name."""
    sfn = client("stepfunctions")
    listed = sfn.list_executions(stateMachineArn=environment["STATE_MACHINE_ARN"])["executions"]
    return {
        each["name"]: json.loads(sfn.describe_execution(executionArn=each["executionArn"])["input"])
        for each in listed
    }


class TestStart:
    def test_a_run_starts_an_execution_of_its_own_name(
        self, alice: Caller, environment: dict[str, str]
    ) -> None:
        answer = alice.post(
            "/items/reprocess",
            {"select": {"status": "failed"}, "stages": ["analyze"], "max_cost_usd": 5, "reason": "again"},
        )
        assert answer.status == 202
        assert (answer.body["status"], answer.body["kind"]) == ("queued", "reprocess")
        run_id = answer.body["run_id"]
        asked = executions(environment)[run_id]
        assert RunInput.model_validate(asked).owner == "alice"
        assert asked["select"] == {"status": "failed"}
        assert (asked["stages"], asked["max_cost_usd"], asked["run_id"]) == (["analyze"], 5, run_id)

    def test_the_same_request_again_is_the_same_run(
        self, alice: Caller, bob: Caller, environment: dict[str, str]
    ) -> None:
        asked = {"select": {"all": True}}
        key = {"idempotency_key": "one"}
        first = alice.post("/items/reprocess", asked, **key)
        assert alice.post("/items/reprocess", asked, **key).body["run_id"] == first.body["run_id"]
        assert bob.post("/items/reprocess", asked, **key).body["run_id"] != first.body["run_id"]
        other = alice.post("/items/reprocess", {"select": {"status": "ready"}}, **key)
        assert kind(other) == (422, "idempotency-key-reused")
        assert len(executions(environment)) == 2

    def test_a_vector_index_is_rebuilt_with_or_without_a_body(
        self, alice: Caller, environment: dict[str, str]
    ) -> None:
        for body in (None, {}, {"reason": "new model"}):
            answer = alice.post("/vector-index/rebuild", body)
            assert answer.status == 202, answer.body
            asked = executions(environment)[answer.body["run_id"]]
            assert (asked["stages"], asked["select"]) == (["embed"], {"all": True})

    def test_what_failed_is_replayed_as_a_whole_or_of_one_run(
        self, alice: Caller, bob: Caller, environment: dict[str, str]
    ) -> None:
        whole = alice.post("/failed/replay", {}).body["run_id"]
        assert executions(environment)[whole]["select"] == {"status": "failed"}
        assert executions(environment)[whole]["force"] is True
        one = alice.post("/failed/replay", {"run_id": whole, "force": False}).body["run_id"]
        assert executions(environment)[one]["select"] == {"failed_in": whole}
        assert kind(bob.post("/failed/replay", {"run_id": whole})) == (404, "run-not-found")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"select": {}},
            {"select": {"all": False}},
            {"select": {"ids": []}},
            {"select": {"ids": [str(uuid4())] * 1001}},
            {"select": {"user_id": "bob"}},
            {"select": {"all": True}, "user_id": "bob"},
            {"select": {"all": True}, "stages": []},
            {"select": {"all": True}, "stages": ["delete"]},
            {"select": {"all": True}, "max_cost_usd": -1},
            {"select": {"all": True}, "max_cost_usd": 1e400},
            {"select": {"all": True}, "reason": "x" * 501},
            {"select": {"since": "yesterday"}},
            {"select": {"since": "2026-01-01T00:00:00"}},
        ],
        ids=lambda body: json.dumps(body)[:60],
    )
    def test_what_makes_no_sense_is_refused_and_starts_nothing(
        self, body: dict[str, Any], alice: Caller, environment: dict[str, str]
    ) -> None:
        assert kind(alice.post("/items/reprocess", body)) == (422, "invalid-input")
        assert executions(environment) == {}

    def test_hostile_texts_are_taken_for_texts(self, alice: Caller, environment: dict[str, str]) -> None:
        body = '{"select": {"category": "a\\u0000b\\ud800"}, "reason": "\\u0000<script>"}'
        answer = alice.post("/items/reprocess", body)
        assert answer.status == 202
        assert answer.body["reason"] == "<script>"
        assert alice.get(f"/runs/{answer.body['run_id']}").body["select"] == {"category": "ab?"}

    def test_nobody_keeps_more_than_ten_going(self, alice: Caller, bob: Caller) -> None:
        for _ in range(api_runs.MAX_OPEN):
            assert alice.post("/failed/replay", {}).status == 202
        assert kind(alice.post("/failed/replay", {})) == (409, "too-many-runs")
        assert bob.post("/failed/replay", {}).status == 202


class TestShow:
    def begun(self, caller: Caller, **asked: Any) -> str:
        return str(caller.post("/items/reprocess", {"select": {"all": True}, **asked}).body["run_id"])

    def test_a_run_at_work_shows_counts_causes_cost_and_time_left(
        self, alice: Caller, db: Database, environment: dict[str, str]
    ) -> None:
        run_id = self.begun(alice)
        db.execute(
            "UPDATE scan_runs SET status = 'running', started_at = now() - interval '60 seconds', "
            "planned_items = 8"
        )
        began = (datetime.now(UTC) - timedelta(seconds=30)).isoformat()
        for number in range(4):
            item = picture(db, "alice", f"Picture {number}")
            db.execute(
                "INSERT INTO usage_ledger (user_id, item_id, stage, provider, model, cost_usd, occurred_at) "
                "VALUES ('alice', %s, 'analyzer', 'anthropic', 'm-2', 0.25, %s)",
                # What was spent before the run began with the item is not the run's.
                (item, datetime.now(UTC) if number else datetime.now(UTC) - timedelta(hours=1)),
            )
            said = {"run_owner": "alice", "run_id": run_id, "user_id": "alice", "item_id": item}
            results = {"process": {"status": "ready"}, "analyze": {"status": "analyzed"}}
            if number == 3:
                results["analyze"] = {"status": "failed", "code": "refused"}
            recorded({**said, "began_at": began, "results": results}, LambdaContext())
        shown = alice.get(f"/runs/{run_id}").body
        assert shown["items"] == {
            "planned": 8,
            "done": 3,
            "ignored": 0,
            "rejected": 1,
            "failed": 0,
            "left": 4,
        }
        assert shown["by_stage"]["analyze"] == {"done": 3, "ignored": 0, "rejected": 1, "failed": 0}
        assert [(cause["code"], cause["items"]) for cause in shown["causes"]] == [("refused", 1)]
        assert shown["failures"][0]["item_id"] == item
        assert shown["cost_usd"] == 0.75
        assert 55 <= shown["seconds_left"] <= 70

    def test_the_same_result_twice_is_one_and_a_later_one_adds_its_cost(
        self, alice: Caller, db: Database
    ) -> None:
        run_id = self.begun(alice)
        item = picture(db, "alice")
        said = {"run_owner": "alice", "run_id": run_id, "user_id": "alice", "item_id": item}
        for began in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"):
            recorded(
                {**said, "began_at": began, "results": {"embed": {"status": "ignored"}}}, LambdaContext()
            )
        failure = {"stage": "analyze", "error": "TransientError", "cause": "no JSON", "redrive": 0}
        with pytest.raises(ItemFailedError):
            recorded({**said, "began_at": "2026-01-02T00:00:00Z", "failure": failure}, LambdaContext())
        (row,) = db.execute("SELECT outcome, code, message FROM scan_results").fetchall()
        assert row == {"outcome": "failed", "code": "TransientError", "message": "no JSON"}

    def test_of_who_was_erased_meanwhile_nothing_is_recorded(
        self, environment: dict[str, str], db: Database
    ) -> None:
        run_id = str(uuid4())
        launching.create(RunInput.model_validate({"run_id": run_id, "select": {"all": True}}))
        said = {"run_owner": "*", "run_id": run_id, "began_at": "2026-01-01T00:00:00Z", "results": {}}
        with database.transaction() as cursor:
            erasures.begin(cursor, "alice", uuid4())
        unknown = Difference("unknown", "a", None)
        for user_id in ("alice", "bob"):
            recorded({**said, "user_id": user_id, "item_id": str(uuid4())}, LambdaContext())
            checked.keep("*", UUID(run_id), user_id, "images", [unknown])
        for query in ("SELECT user_id FROM scan_results", "SELECT user_id FROM scan_findings"):
            assert [row["user_id"] for row in db.execute(query).fetchall()] == ["bob"]

    def test_somebody_elses_run_is_one_that_does_not_exist(
        self, alice: Caller, bob: Caller, environment: dict[str, str]
    ) -> None:
        run_id = self.begun(alice)
        missing = bob.get(f"/runs/{uuid4()}")
        for path in (f"/runs/{run_id}", "/runs/nonsense", f"/runs/{run_id}/history"):
            assert bob.get(path).body == missing.body
            assert bob.get(path).status == 404
        assert bob.post(f"/runs/{run_id}/cancel").body == missing.body
        assert bob.get("/runs").body["runs"] == []
        assert len(executions(environment)) == 1
        assert alice.get(f"/runs/{run_id}").body["status"] == "queued"

    def test_the_operators_runs_are_nobodys(self, alice: Caller, db: Database) -> None:
        launching.create(RunInput(run_id=uuid4(), select={"all": True}))  # type: ignore[arg-type]
        (row,) = db.execute("SELECT user_id, run_id FROM scan_runs").fetchall()
        assert row["user_id"] == "*"
        assert alice.get(f"/runs/{row['run_id']}").status == 404
        assert Caller("*", alice.client_id).get("/runs").status == 401

    def test_runs_are_listed_newest_first_page_by_page(self, alice: Caller) -> None:
        made = [self.begun(alice) for _ in range(5)]
        first = alice.get("/runs", limit=3).body
        rest = alice.get("/runs", limit=3, cursor=first["next_cursor"]).body
        assert [run["run_id"] for run in first["runs"] + rest["runs"]] == made[::-1]
        assert rest["next_cursor"] is None
        assert alice.get("/runs", cursor="forged").status == 400


class TestCancel:
    def test_a_run_is_stopped_once_and_stays_stopped(
        self, alice: Caller, environment: dict[str, str], db: Database
    ) -> None:
        run_id = alice.post("/failed/replay", {}).body["run_id"]
        answer = alice.post(f"/runs/{run_id}/cancel")
        assert (answer.status, answer.body["status"]) == (200, "cancelled")
        sfn = client("stepfunctions")
        (one,) = sfn.list_executions(stateMachineArn=environment["STATE_MACHINE_ARN"])["executions"]
        assert one["status"] == "ABORTED"
        assert alice.post(f"/runs/{run_id}/cancel").body["status"] == "cancelled"
        # A planner that comes late is told so.
        with pytest.raises(plan.RunRefusedError, match="cancelled"):
            planner.process(to_plan(run_id=run_id, user_id="alice", select={"all": True}))

    def test_a_run_that_has_ended_stays_as_it_ended(self, alice: Caller, db: Database) -> None:
        run_id = alice.post("/failed/replay", {}).body["run_id"]
        db.execute("UPDATE scan_runs SET status = 'succeeded', finished_at = now()")
        assert alice.post(f"/runs/{run_id}/cancel").body["status"] == "succeeded"


def to_plan(question: Any = None, part: int = 1, after: Any = None, **asked: Any) -> ToPlan:
    run = {"run_id": str(uuid4()), **asked}
    arn = f"arn:aws:states:us-east-1:123456789012:execution:magpie-dev-reprocess:{run['run_id']}"
    return ToPlan(input=run, execution=arn, question=question, part=part, after=after)


def lines(aws: Aws, planned: dict[str, Any]) -> list[str]:
    body = aws.s3.get_object(Bucket=planned["bucket"], Key=planned["manifest"])["Body"].read()
    return [line.split(",")[1] for line in body.decode().splitlines()[1:]]


class TestPlan:
    @pytest.fixture(autouse=True)
    def _without_limits(self, environment: dict[str, str], db: Database) -> None:
        money.allow(db, "alice")

    def test_selections_choose_what_they_say(self, db: Database, aws: Aws) -> None:
        ready = picture(db, "alice", category="cat")
        failed = picture(db, "alice", status="failed")
        corrected = picture(db, "alice", category="dog")
        db.execute(
            "INSERT INTO corrections (user_id, item_id, category) VALUES ('alice', %s, 'cat')", (corrected,)
        )
        pending = picture(db, "alice", status="pending", analysis_version=None)
        waiting = picture(db, "alice", status="pending", updated_at=datetime.now(UTC) - timedelta(hours=2))
        rejected = picture(db, "alice", status="rejected", analysis_version=None)
        old = picture(db, "alice", created_at=datetime(2020, 1, 1, tzinfo=UTC))
        picture(db, "bob")

        def chosen(select: dict[str, Any], stages: tuple[str, ...] = ("process", "embed")) -> set[str]:
            planned = planner.process(to_plan(user_id="alice", select=select, stages=stages))
            return set(lines(aws, planned)) if planned["items"] else set()

        every = {ready, failed, corrected, rejected, old}
        assert chosen({"all": True}) == every
        assert chosen({"all": True}, ("embed",)) == every - {rejected}
        assert chosen({"status": "failed"}) == {failed}
        assert chosen({"status": "pending"}) == {waiting}
        assert chosen({"category": "cat"}) == {ready, corrected}
        assert chosen({"since": "2026-01-01T00:00:00Z"}) == every - {old}
        assert chosen({"until": "2026-01-01T00:00:00Z"}) == {old}
        assert chosen({"ids": [ready, pending, str(uuid4())]}) == {ready}
        assert chosen({"status": "ready", "category": "nothing"}) == set()

    def test_what_is_stale_is_chosen_by_the_prompt_and_the_models_of_now(
        self, db: Database, aws: Aws
    ) -> None:
        fresh, other_model, other_prompt = (picture(db, "alice") for _ in range(3))
        db.execute("UPDATE analyses SET prompt_hash = 'now', provider_used = 'anthropic', model_used = 'm-2'")
        db.execute("UPDATE analyses SET model_used = 'm-1' WHERE item_id = %s", (other_model,))
        db.execute("UPDATE analyses SET prompt_hash = 'old' WHERE item_id = %s", (other_prompt,))
        for select, expected, paid in (
            ({"stale_model": True}, {other_model}, 1),
            ({"stale_prompt": True}, {other_prompt}, 1),
            ({"stale": True}, {other_model, other_prompt}, 2),
            ({"all": True}, {fresh, other_model, other_prompt}, 2),
        ):
            event = to_plan(QUESTION, user_id="alice", select=select, stages=["analyze"])
            assert set(lines(aws, planner.process(event))) == expected
            row = db.execute(
                "SELECT estimate FROM scan_runs WHERE run_id = %s", (event.input["run_id"],)
            ).fetchone()
            assert row
            assert row["estimate"]["analyses"] == paid
            assert row["estimate"]["basis"] == "the price list"
        event = to_plan(QUESTION, user_id="alice", select={"all": True}, stages=["analyze"], force=True)
        planner.process(event)
        (row,) = db.execute(
            "SELECT estimate FROM scan_runs WHERE run_id = %s", (event.input["run_id"],)
        ).fetchall()
        assert row["estimate"]["analyses"] == 3

    def spent(self, db: Database, usd: float, calls: int = 1, user_id: str = "alice") -> None:
        for _ in range(calls):
            db.execute(
                "INSERT INTO usage_ledger (user_id, stage, provider, model, input_tokens, output_tokens, "
                "cost_usd) VALUES (%s, 'analyzer', 'anthropic', 'm-2', 1000, 500, %s)",
                (user_id, usd),
            )

    def test_the_estimate_is_made_of_the_owners_own_ledger(self, db: Database) -> None:
        self.spent(db, 0.5, 2)
        self.spent(db, 9, 2, "bob")
        for _ in range(3):
            picture(db, "alice")
        event = to_plan(QUESTION, user_id="alice", select={"all": True}, dry_run=True)
        assert planner.process(event)["dry_run"]
        (row,) = db.execute("SELECT status, estimate FROM scan_runs").fetchall()
        assert row["status"] == "planned"
        assert row["estimate"] == {
            "items": 3,
            "analyses": 3,
            "embeddings": 3,
            "input_tokens": 3000,
            "output_tokens": 1500,
            "usd": 1.5,
            "basis": "the average of 2 calls",
        }

    def test_a_run_over_its_limit_is_refused_with_the_reason(self, db: Database) -> None:
        self.spent(db, 2.0)
        picture(db, "alice")
        event = to_plan(QUESTION, user_id="alice", select={"all": True}, max_cost_usd=1.5)
        with pytest.raises(plan.OverBudgetError, match=r"about 2\.00 US dollars, and may cost 1\.50"):
            planner.process(event)
        (row,) = db.execute("SELECT status, error_code, error_message, finished_at FROM scan_runs").fetchall()
        assert (row["status"], row["error_code"]) == ("failed", "over_max_cost")
        assert row["finished_at"]

    def test_a_run_over_the_months_budget_is_refused(self, db: Database) -> None:
        self.spent(db, 2.0)
        picture(db, "alice")
        money.allow(db, "alice", model_usd_per_month=3.5)
        # What is set aside for calls counts as spent.
        quotas.reserve_money("alice", "analyzer", Decimal("0.5"), timedelta(minutes=1))
        with pytest.raises(plan.OverBudgetError, match=r"1\.00 of this month are left"):
            planner.process(to_plan(QUESTION, user_id="alice", select={"all": True}))

    def test_a_run_over_everybodys_budget_is_refused_and_nobody_is_told_how_much_that_is(
        self, db: Database, function_env: Callable[..., dict[str, str]]
    ) -> None:
        self.spent(db, 2.0)
        picture(db, "alice")
        function_env("ScanPlanner", EMBEDDER="offline", MODEL_BUDGET_USD="3")
        with pytest.raises(plan.OverBudgetError, match=r"everybody here shares less is left") as refused:
            planner.process(to_plan(QUESTION, user_id="alice", select={"all": True}))
        assert refused.value.code == "over_budget"
        assert "1.00" not in refused.value.sentence
        # The operator's run is held to it too, and takes what it pays for where it is trimmed.
        every: dict[str, Any] = {"select": {"all": True}, "stages": ["analyze"], "max_cost_usd": 50}
        with pytest.raises(plan.OverBudgetError, match="everybody"):
            planner.process(to_plan(QUESTION, **every))
        assert planner.process(to_plan(QUESTION, **every, trim=True))["items"] == 0

    def test_a_trimmed_run_takes_what_its_budget_pays_for(self, db: Database, aws: Aws) -> None:
        self.spent(db, 1.0)
        for _ in range(7):
            picture(db, "alice")
        event = to_plan(
            QUESTION, user_id="alice", select={"all": True}, stages=["analyze"], max_cost_usd=3.2, trim=True
        )
        planned = planner.process(event)
        assert planned["items"] == 3
        assert "next" not in planned

    def test_a_model_without_a_price_is_not_run_under_a_limit(self, db: Database) -> None:
        picture(db, "alice")
        question = {**QUESTION, "providers": [{**QUESTION["providers"][0], "input_usd": None}]}
        with pytest.raises(plan.OverBudgetError, match="price of the model is not known"):
            planner.process(to_plan(question, user_id="alice", select={"all": True}, max_cost_usd=100))

    def test_a_large_run_is_planned_part_by_part(self, db: Database, aws: Aws) -> None:
        made = {picture(db, owner) for owner in ("alice", "bob", "carla") for _ in range(3)}
        found: list[str] = []
        after, part = None, 1
        run_id = str(uuid4())
        while True:
            event = to_plan(part=part, after=after, run_id=run_id, select={"all": True}, stages=["embed"])
            planned = planner.process(event, most=4)
            found += lines(aws, planned)
            if "next" not in planned:
                break
            after, part = planned["next"], part + 1
        assert part == 3
        assert len(found) == 9
        assert set(found) == made
        (row,) = db.execute("SELECT user_id, planned_items FROM scan_runs").fetchall()
        assert row == {"user_id": "*", "planned_items": 9}

    def test_a_large_prefix_is_planned_part_by_part(self, db: Database, aws: Aws) -> None:
        keys = [f"alice/archive/{number:02} ü,%.jpg" for number in range(7)]
        for key in [*keys, "alice/archive/", "alice/archive/03/", "alice/archived.jpg", "bob/archive/1.jpg"]:
            aws.s3.put_object(Bucket=aws.uploads, Key=key, Body=b"x")
        found: list[str] = []
        event, part = to_plan(prefix="alice/archive/", kind="ingest"), 1
        while True:
            planned = planner.process(event, most=3)
            assert planned["run"]["owner"] == "*"
            body = aws.s3.get_object(Bucket=planned["bucket"], Key=planned["manifest"])["Body"].read()
            found += [unquote(line.split(",")[2]) for line in body.decode().splitlines()[1:]]
            (row,) = db.execute("SELECT planned_items FROM scan_runs").fetchall()
            assert row["planned_items"] == len(found)
            if "next" not in planned:
                break
            part += 1
            event = event.model_copy(update={"part": part, "after": planned["next"]})
        assert part == 3
        assert found == keys

    def test_a_run_that_is_started_again_goes_on_with_the_items_that_it_had(
        self, db: Database, aws: Aws
    ) -> None:
        one = picture(db, "alice", status="failed")
        event = to_plan(user_id="alice", select={"status": "failed"})
        assert lines(aws, planner.process(event)) == [one]
        db.execute("UPDATE items SET status = 'ready'")
        picture(db, "alice", status="failed")
        assert lines(aws, planner.process(event)) == [one]

    def test_the_number_of_items_is_that_of_the_manifest_and_no_estimate(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(3):
            picture(db, "alice")
        count = selection.count

        def counted_before_another_came(values: Any) -> Any:
            found = count(values)
            picture(db, "alice")
            return found

        monkeypatch.setattr(selection, "count", counted_before_another_came)
        assert planner.process(to_plan(user_id="alice", select={"all": True}))["items"] == 4
        (row,) = db.execute("SELECT estimate, planned_items FROM scan_runs").fetchall()
        assert (row["estimate"]["items"], row["planned_items"]) == (3, 4)

    @pytest.mark.parametrize("lines", [10, 90_000], ids=["small", "in parts"])
    def test_nothing_comes_to_be_for_somebody_who_was_erased_in_the_meantime(
        self, lines: int, db: Database, aws: Aws
    ) -> None:
        def selected() -> Iterator[str]:
            for number in range(lines):
                if number == lines - 1:
                    with database.transaction() as cursor:
                        erasures.begin(cursor, "alice", uuid4())
                yield manifest.line("alice", str(uuid4()), "k" * 60)

        with pytest.raises(AccountDeletedError):
            manifest.write(aws.media, "key", selected(), record.writing("alice"))
        assert "Contents" not in aws.s3.list_objects_v2(Bucket=aws.media)
        assert "Uploads" not in aws.s3.list_multipart_uploads(Bucket=aws.media)

    def test_files_of_runs_lie_where_one_rule_lets_them_expire(self, db: Database, aws: Aws) -> None:
        picture(db, "alice")
        planner.process(to_plan(user_id="alice", select={"all": True}))
        planner.process(to_plan(select={"all": True}))
        keys = [each["Key"] for each in aws.s3.list_objects_v2(Bucket=aws.media)["Contents"]]
        (rule,) = [
            rule
            for rule in aws.template.resources["MediaBucket"].properties["LifecycleConfiguration"]["Rules"]
            if rule["Id"] == "runs"
        ]
        assert len(keys) == 4
        assert [key for key in keys if not key.startswith(rule["Prefix"])] == []
        # A person's reports are not among them, the operator's are.
        assert not runs.report_key("alice", uuid4()).startswith(rule["Prefix"])
        assert runs.report_key("*", uuid4()).startswith(rule["Prefix"])

    def test_an_input_that_is_none_is_named(self) -> None:
        for wrong in (
            {},
            {"select": {"all": True}, "surprise": 1},
            {"select": {"all": True}, "prefix": "a/"},
            {"user_id": "alice", "prefix": "bob/archive/"},
        ):
            with pytest.raises(Exception, match="not the input of a run"):
                planner.process(ToPlan(input=wrong, execution="arn:x"))


class TestCheck:
    def test_a_check_that_runs_out_of_time_goes_on_where_it_stopped(
        self,
        function_env: Callable[..., dict[str, str]],
        db: Database,
        aws: Aws,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        function_env("ScanChecker")
        monkeypatch.setattr(checker, "BATCH", 1)
        monkeypatch.setattr(checker, "SETTLED_SECONDS", -60)  # the objects are of just now
        monkeypatch.setattr(checked, "PAGE", 2)
        then = datetime.now(UTC) - timedelta(days=1)
        expected = set()
        for owner in ("alice", "bob"):
            ids = [UUID(picture(db, owner, updated_at=then)) for _ in range(5)]
            for item_id in ids:
                aws.s3.put_object(Bucket=aws.uploads, Key=items.uploads_key(owner, item_id), Body=b"x")
                aws.s3.put_object(Bucket=aws.media, Key=items.image_key(owner, item_id), Body=b"x")
                aws.s3.put_object(Bucket=aws.media, Key=items.thumbnail_key(owner, item_id), Body=b"x")
            gone = {
                "originals_missing": (aws.uploads, items.uploads_key(owner, ids[0])),
                "images_missing": (aws.media, items.image_key(owner, ids[2])),
                "thumbnails_missing": (aws.media, items.thumbnail_key(owner, ids[4])),
            }
            for kind, (bucket, key) in gone.items():
                aws.s3.delete_object(Bucket=bucket, Key=key)
                expected.add((owner, kind, key))
            stray = items.image_key(owner, uuid4())
            aws.s3.put_object(Bucket=aws.media, Key=stray, Body=b"x")
            expected.add((owner, "images_unknown", stray))
        nobodys = "carla/lost.jpg"
        aws.s3.put_object(Bucket=aws.uploads, Key=nobodys, Body=b"x")
        expected.add(("carla", "originals_unknown", nobodys))

        asked = RunInput.model_validate({"run_id": uuid4(), "kind": "check", "check": "objects"})
        calls, after = 0, None
        while True:
            event = checker.ToCheck(input=asked, execution="arn:aws:states:::execution:m:1", after=after)
            answer = checker.process(event, lambda: 0.0)
            calls += 1
            if "next" not in answer:
                break
            after = answer["next"]
        assert calls > 20
        rows = db.execute("SELECT user_id, kind, subject FROM scan_findings").fetchall()
        assert {tuple(row.values()) for row in rows} == expected
