"""The stack as a whole: what it leaves behind when it ends in whatever way, and what it finds again."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from botocore.exceptions import ClientError

from tests.local.running import ROOT, SMALL, Refused, Running, gone, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture
def start(data: Path) -> Iterator[Callable[..., Running]]:
    """Start stacks on one data folder; whatever a test leaves running is stopped."""
    started: list[Running] = []

    def start(*arguments: str, **settings: Any) -> Running:
        running = Running(data, *arguments, **settings)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """The small template with one piece of its text replaced."""
    text = SMALL.read_text()
    assert old in text
    folder = tmp_path / "project"
    folder.mkdir(exist_ok=True)
    if not (folder / "functions").exists():
        (folder / "functions").symlink_to(SMALL.parent / "functions")
    path = folder / "template.yaml"
    path.write_text(text.replace(old, new))
    return path


def works(stack: Running) -> None:
    assert stack.request("GET", "/open").status == 200
    assert stack.request("GET", "/items", headers={"Authorization": stack.token()}).status == 200


def test_a_stack_says_what_it_is_to_its_owner_only_and_stops_on_a_signal(start, data):
    stack = start()
    assert stat.S_IMODE((data / "stack.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((data / "users.json").stat().st_mode) == 0o600
    assert stack.info["pid"] == stack.process.pid
    assert stack.info["user"]["email"] == "local@magpie.test"
    assert set(stack.info) == {
        "pid", "api_url", "aws_url", "uploads_bucket", "media_bucket", "user", "sign_in", "database_url",
        "stripe_webhook_secret",
    }  # fmt: skip
    works(stack)
    with pytest.raises(ClientError):  # moto knows no such service, and says so in print
        stack.client("comprehendmedical").list_entities_detection_v2_jobs()
    family = stack.family()
    assert len(family) > 5
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.stdout
    assert stack.process.stdout.read() == "", "standard output is for answers"
    assert stack.stop() == 0
    assert all(gone(process) for process in family)
    assert not (data / "stack.json").exists()


def test_a_closed_terminal_stops_everything_also_in_a_folder_with_a_very_long_path(data):
    deep = data / ("long" * 20) / ("longer" * 20)
    deep.mkdir(parents=True)
    stack = Running(deep / "data")
    works(stack)
    family = stack.family()
    assert stack.stop(signal.SIGHUP) == 0
    assert all(gone(process) for process in family)


def test_a_second_ctrl_c_leaves_nobody_behind(start):
    stack = start()
    works(stack)
    family = stack.family()
    for _ in range(10):
        if stack.process.poll() is None:
            stack.process.send_signal(signal.SIGINT)
        time.sleep(0.01)  # somebody hammers on the keyboard
    # No signal any more: one that comes when Python itself is ending is nobody's to hear.
    assert stack.stop(0) == 0
    assert all(gone(process) for process in family)


def test_a_stack_that_is_killed_leaves_nobody_behind(start, data):
    stack = start()
    works(stack)
    family = stack.family()
    stack.stop(signal.SIGKILL)
    wait_until(lambda: all(gone(process) for process in family))
    assert not (data / "stack.json").exists()


def test_what_a_function_has_started_ends_with_a_killed_stack(start):
    stack = start()
    payload = json.dumps({"do": "spawn"})
    answer = stack.client("lambda").invoke(FunctionName="magpie-Probe", Payload=payload)
    child = psutil.Process(json.load(answer["Payload"])["child"])
    stack.stop(signal.SIGKILL)
    wait_until(lambda: gone(child))


def test_a_signal_while_it_starts_leaves_nobody_behind(data):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.local.run_stack", str(data), "--template", str(SMALL)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    family: list[psutil.Process] = []
    for line in process.stderr:
        if line.startswith("making the template"):
            wait_until(lambda: family.extend(psutil.Process(process.pid).children(recursive=True)) or family)
            process.send_signal(signal.SIGTERM)
            break
    process.stderr.close()
    assert process.wait(30) == 0
    assert all(gone(child) for child in family)
    assert not (data / "stack.json").exists()


def test_everything_is_found_again_even_after_a_kill(start):
    stack = start()
    first = stack.info
    token = stack.token()
    second_user = stack.new_user("second@magpie.test", "correct horse 1")
    version = stack.client("s3").put_object(Bucket=first["media_bucket"], Key="a", Body=b"kept")
    stack.client("sqs").send_message(QueueUrl=stack.queue_url("RecorderQueue"), MessageBody="kept")
    with psycopg.connect(first["database_url"], autocommit=True) as database:
        database.execute("CREATE TABLE kept AS SELECT 1 AS one")
    family = stack.family()
    stack.stop(signal.SIGKILL)
    wait_until(lambda: all(gone(process) for process in family))

    stack = start()
    assert stack.info["user"] == first["user"]
    assert stack.info["sign_in"] == first["sign_in"]
    assert stack.request("GET", "/items", headers={"Authorization": token}).status == 200
    answer = stack.request(
        "GET", "/items", headers={"Authorization": stack.token("second@magpie.test", "correct horse 1")}
    )
    assert answer.json()["event"]["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] == second_user
    kept = stack.client("s3").get_object(Bucket=first["media_bucket"], Key="a")
    assert (kept["Body"].read(), kept["ETag"]) == (b"kept", version["ETag"])
    received = stack.client("sqs").receive_message(QueueUrl=stack.queue_url("RecorderQueue"))
    assert [message["Body"] for message in received["Messages"]] == ["kept"]
    with psycopg.connect(stack.info["database_url"]) as database:
        assert database.execute("SELECT one FROM kept").fetchone() == (1,)


def test_work_that_was_begun_when_the_stack_was_killed_is_done_after_it(start, tmp_path):
    stack = start()
    job = json.dumps({"name": "long", "slow": 15})
    stack.client("sqs").send_message(QueueUrl=stack.queue_url("JobQueue"), MessageBody=job)
    s3, bucket = stack.client("s3"), stack.info["media_bucket"]

    def begun(s3: Any) -> dict[str, Any] | None:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix="long/").get("Contents")
        return json.load(s3.get_object(Bucket=bucket, Key=listed[0]["Key"])["Body"]) if listed else None

    first = wait_until(lambda: begun(s3))
    stack.stop(signal.SIGKILL)
    stack = start()
    again = stack.client("s3")
    # What the first one wrote may have been seen before it was on disk, and is then not found again.
    wait_until(lambda: (begun(again) or first)["pid"] != first["pid"])
    assert begun(again)["record"]["messageId"] == first["record"]["messageId"]


def test_a_custom_resource_that_fails_stops_the_start_and_says_why(start, data, tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(Refused, match="Made was not made: thirteen is no number"):
        start(template=changed(tmp_path, "Number: 3", "Number: 13"))
    assert all(gone(process) for process in set(psutil.Process().children(recursive=True)) - before)


def test_a_template_that_cannot_be_run_is_refused_before_anything_is_started(start, data, tmp_path):
    template = changed(tmp_path, "Type: AWS::DynamoDB::Table", "Type: AWS::RDS::DBInstance")
    with pytest.raises(
        Refused, match=r"Table \(AWS::RDS::DBInstance\): the local stack does not run this type"
    ):
        start(template=template)
    assert not (data / "postgres").exists()


@pytest.mark.parametrize("option", ["--port", "--aws-port"])
def test_a_taken_port_is_one_line_that_names_the_option(start, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused) as raised:
            start(option, str(port))
    assert str(raised.value).strip() == (
        f"port {port} cannot be used (Address already in use): choose another with {option}"
    )


def test_two_stacks_on_one_data_folder_are_refused(stack):
    with pytest.raises(Refused, match=f"another stack uses {stack.data}: stop it, or choose another folder"):
        Running(stack.data)
    works(stack)


def test_functions_get_what_is_meant_for_them_and_this_machines_settings_lead_nowhere(start, tmp_path):
    variables = "GREETING: !Ref Greeting\n        ANTHROPIC_KEY_PARAMETER: /test/anthropic-key"
    stack = start(
        "--parameter", "Greeting=moin",
        "--environment", "ANTHROPIC_BASE_URL=http://127.0.0.1:9",
        template=changed(tmp_path, "GREETING: !Ref Greeting", variables),
        ANTHROPIC_API_KEY="sk-test",
        AWS_PROFILE="no-such-profile",
        AWS_ENDPOINT_URL="http://127.0.0.1:1",
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:1",
        AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE",
        AWS_DEFAULT_REGION="eu-central-1",
        HTTP_PROXY="http://127.0.0.1:1",
        HTTPS_PROXY="http://127.0.0.1:1",
    )  # fmt: skip
    works(stack)
    payload = json.dumps({"do": "environment"})
    answer = stack.client("lambda").invoke(FunctionName="magpie-Probe", Payload=payload)
    environment = json.load(answer["Payload"])["environment"]
    assert environment["GREETING"] == "moin"
    assert environment["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["AWS_ENDPOINT_URL"] == stack.aws_url
    assert "sk-test" not in environment.values()
    parameter = stack.client("ssm").get_parameter(Name="/test/anthropic-key", WithDecryption=True)
    assert parameter["Parameter"]["Value"] == "sk-test"


def test_when_the_database_ends_the_stack_says_so_and_ends(start):
    stack = start()
    family = stack.family()
    server = next(p for p in family if p.name() == "postgres" and p.ppid() == stack.process.pid)
    server.send_signal(signal.SIGQUIT)
    assert stack.process.wait(30) == 1
    assert "the database has ended" in stack.errors.read_text()
    stack.stop()
    assert all(gone(process) for process in family)


def test_a_database_left_by_a_killed_stack_is_cleared_away(start, data):
    stack = start()
    server = next(p for p in stack.family() if p.name() == "postgres" and p.ppid() == stack.process.pid)
    guardian = next(p for p in stack.family() if any("guardian.py" in part for part in p.cmdline()))
    # Both at once, as when the machine runs out of memory: nobody is left to clear away.
    for process in (psutil.Process(stack.process.pid), guardian):
        process.suspend()
    guardian.kill()
    stack.stop(signal.SIGKILL)
    assert server.is_running()
    works(start())
    wait_until(lambda: gone(server))


def test_starting_again_updates_what_is_there_and_refuses_what_is_not_its_own(start, data, tmp_path):
    start().stop()
    # A process that lives and is no database has the number of one that was killed.
    (data / "postgres/postmaster.pid").write_text(f"{os.getpid()}\n{data}/postgres\n1\n5432\n\n\n\nready\n")
    again = start(template=changed(tmp_path, "Number: 3", "Number: 4"))
    works(again)
    again.stop()
    lines = [json.loads(line) for line in (data / "logs/Maker.log").read_text().splitlines()]
    assert [(line["asked"], line["number"]) for line in lines] == [("Create", "3"), ("Update", "4")]
    (data / "postgres/PG_VERSION").write_text("15\n")
    with pytest.raises(Refused, match="holds a database of PostgreSQL 15, and this is 18"):
        start()


def test_a_stack_started_on_a_thread_starts_and_stops(data):
    """The command line's `demo` may do so; signal handlers belong to the main thread."""
    program = (
        "import sys, threading\nfrom pathlib import Path\nfrom local.stack import Stack\n"
        "def work():\n"
        "    with Stack(Path(sys.argv[1]), 0, 0, template=Path(sys.argv[2])) as stack:\n"
        "        print(stack.wait_until_idle(5), stack.invoke('Probe', {'a': 1})[0]['event'])\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(data), str(SMALL)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "True {'a': 1}\n", done.stderr
