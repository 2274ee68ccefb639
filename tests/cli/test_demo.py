"""The commands that start the whole stack, as processes of their own."""

import json
import shutil
import signal
import socket
import stat
import tempfile
from pathlib import Path

import boto3
import psutil
import pytest

from cli.demo import photographs

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SLOW = 120
"""Seconds for a whole stack on a machine that does other things too."""


def children(process):
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def gone(processes):
    """Whether all of these have ended; a number that is used again is another process."""
    return not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def data():
    """A data folder whose parents are harmless: as root, PostgreSQL's user must pass through them."""
    folder = Path(tempfile.mkdtemp(prefix="magpie-up-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def up(data, start):
    """Start `magpie up` on free ports; returns the process and the document that it printed."""

    def start_up():
        process = start("up", "--port", "0", "--aws-port", "0", "--data", str(data), "--json")
        lines = []
        # The document ends with the brace that its first line has opened.
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        document = json.loads("".join(lines))
        assert "error" not in document, document
        return process, document

    return start_up


def test_pictures_go_through_a_running_magpie_and_are_found(
    up, run, tmp_path, monkeypatch, picture, wait_until
):
    process, document = up()
    monkeypatch.setenv("MAGPIE_DATA", document["data"])
    coffee = next(path for path in photographs() if path.name == "coffee.png")
    assert stat.S_IMODE(Path(document["stack_file"]).stat().st_mode) == 0o600
    assert "password" not in json.dumps(document).replace("stack_file", "")

    ran = run("add", str(coffee), str(picture("words.jpg", b"no picture at all")), "--json")

    assert ran.code == 1, ran.err
    ready, rejected = ran.json["items"]
    assert ready["status"] == "ready"
    assert (rejected["status"], rejected["code"]) == ("rejected", "not_an_image")
    assert rejected["message"].endswith(".")

    listed = run("list", "--json").json["items"]
    assert {item["filename"] for item in listed} == {"coffee.png", "words.jpg"}

    shown = run("show", ready["item_id"][:8], "--json").json
    assert shown["analysis"]["provider"] == "offline"
    assert {"image_processor", "analyzer", "embedder"} <= {line["stage"] for line in shown["timeline"]}
    assert run("show", ready["item_id"]).code == 0

    assert [hit["item_id"] for hit in run("search", "coffee", "--json").json["hits"]][:1] == [
        ready["item_id"]
    ]
    assert run("doctor", "--json").json["checks"][-1]["name"] == "running"

    # Once more through the state machine, by hand and by a scan.
    again = run("reprocess", "--select", "ready", "--force", "--yes", "--wait", "--json")
    assert again.code == 0, again.err
    assert again.json["run"]["items"]["done"] == 1
    shown = run("runs", "show", again.json["run"]["run_id"][:8])
    assert "ExecutionSucceeded" in shown.out
    assert run("scans", "create", "Hourly", "--every", "hourly", "--check", "objects").code == 0
    assert run("scans", "run", "Hourly", "--wait", "--json").json["run"]["findings"] == {}
    # A dead letter is sent round again, and this time its function takes it.
    sqs = boto3.client(
        "sqs",
        endpoint_url=document["aws_url"],
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    dead = sqs.get_queue_url(QueueName="magpie-EmbedderDeadLetters")["QueueUrl"]
    event = json.loads((ROOT / "events" / "AnalysisComplete" / "v1.example.json").read_text())
    body = {"id": "1", "detail-type": "AnalysisComplete", "source": "magpie", "detail": event}
    sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(body))
    (letter,) = run("dlq", "show", "embedder", "--json").json["queues"][0]["letters"]
    assert letter["correlation_id"] == event["metadata"]["correlation_id"]
    assert run("dlq", "redrive", "embedder", "--json").json["queues"][0]["moved"] == 1
    log = Path(document["logs"]) / "Embedder.log"
    wait_until(lambda: event["metadata"]["correlation_id"] in log.read_text())
    assert {queue["messages"] for queue in run("dlq", "list", "--json").json["queues"]} == {0}

    started = children(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert gone(started)
    assert not Path(document["stack_file"]).exists()
    assert run("list").code == 1


def test_pictures_and_their_user_survive_a_restart_and_even_a_kill(up, run, monkeypatch, wait_until):
    process, document = up()
    monkeypatch.setenv("MAGPIE_DATA", document["data"])
    assert run("add", str(photographs()[0]), "--json").json["ready"] == 1

    for number in (signal.SIGTERM, signal.SIGKILL):
        started = children(process)
        process.send_signal(number)
        process.wait(timeout=60)
        wait_until(lambda started=started: gone(started))
        assert run("list").code == 1
        process, document = up()
        assert [item["status"] for item in run("list", "--json").json["items"]] == ["ready"]


def test_a_taken_port_is_one_line(start, data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start("up", "--port", port, "--aws-port", "0", "--data", str(data))
        out, err = process.communicate(timeout=SLOW)

    assert process.returncode == 1
    assert out == ""
    assert port in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_taken_port_is_one_document(start, data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start("up", "--port", "0", "--aws-port", port, "--data", str(data), "--json")
        out, _ = process.communicate(timeout=SLOW)

    assert process.returncode == 1
    assert json.loads(out)["error"]["code"] == "port_taken"


def test_the_demo_takes_twenty_photographs_from_upload_to_search(start, tmp_path):
    process = start("demo", "--output", str(tmp_path / "out"), "--json")
    out, err = process.communicate(timeout=SLOW)

    assert process.returncode == 0, err
    document = json.loads(out)
    assert (document["items"], document["ready"], document["rejected"]) == (20, 20, 0)
    assert document["seconds"] < SLOW
    assert len(document["searches"]) == 3
    assert all(search["query"] and search["hits"] for search in document["searches"])
    for picture in document["pictures"]:
        assert Path(picture["thumbnail"]["path"]).read_bytes()[8:12] == b"WEBP"
        assert 0 < picture["thumbnail"]["width"] <= 512
        assert {"image_processor", "analyzer", "embedder"} <= picture["stages_ms"].keys()
    page = Path(document["contact_sheet"]).read_text()
    assert page.count("<figure>") >= 20


def test_the_demo_tells_what_could_not_be_read(start, tmp_path, picture):
    folder = picture("good.png", photographs()[0].read_bytes()).parent
    picture("bad.jpg", b"no picture")

    process = start("demo", str(folder), "--output", str(tmp_path / "out"))
    out, err = process.communicate(timeout=SLOW)

    assert process.returncode == 1, err
    assert any(line.startswith("bad.jpg") and "rejected" in line for line in out.splitlines())
    assert "logs" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_ended_demo_leaves_no_process(start, tmp_path, wait_until, number, code):
    process = start("demo", "--output", str(tmp_path / "out"))
    said = []
    for line in process.stderr:
        said.append(line)
        if "Magpie is up" in line:
            break
    assert "Magpie is up" in "".join(said[-1:]), said
    started = children(process)
    assert len(started) > 5

    process.send_signal(number)

    assert process.wait(timeout=60) == code
    wait_until(lambda: gone(started))
    assert "Traceback" not in process.stderr.read()
