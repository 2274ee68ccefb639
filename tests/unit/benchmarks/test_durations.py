"""What a message takes: told by a process that runs one function, and put together."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import durations

ROOT = Path(__file__).resolve().parents[3]


def took(**changed: Any) -> dict[str, Any]:
    usual = {"cpu_ms": 1.0, "sql_ms": 1.0, "log_bytes": 10, "sql": 2, "aws": {}, "peak_mb": 80.0}
    return usual | changed


def test_a_process_tells_what_each_message_took() -> None:
    event = (ROOT / "events" / "samples" / "api" / "docs.json").read_text()
    line = json.dumps(json.loads(event))

    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.warm", "api"],
        cwd=ROOT,
        env={"PATH": os.defpath, "LAMBDA_TASK_ROOT": str(ROOT), "POWERTOOLS_SERVICE_NAME": "api"},
        input=f"{line}\n{line}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = (json.loads(each) for each in ran.stdout.splitlines())

    assert first["answer"]["statusCode"] == 200
    assert second["answer"] == first["answer"]
    assert (second["aws"], second["sql"]) == ({}, 0)
    assert 20 < second["peak_mb"] < 300


def test_a_message_takes_the_median_and_of_the_database_the_lower_quarter() -> None:
    taken = [took(cpu_ms=float(n), sql_ms=float(10 * n), peak_mb=80.0 + n) for n in (5, 1, 4, 2, 3)]

    found = durations.median(taken)

    assert (found["cpu_ms"], found["sql_ms"], found["peak_mb"]) == (3.0, 20.0, 85)


def test_calls_are_those_of_a_message_that_opened_no_connection() -> None:
    first = took(aws={"ssm:GetParameter": 1, "s3:GetObject": 1})

    assert durations.median([first, took(aws={"s3:GetObject": 1})])["aws"] == {"s3:GetObject": 1}


def test_every_message_of_a_batch_has_its_own_id() -> None:
    batch = durations.records("Embedder", ["{}", "{}", "{}"])["Records"]

    assert len({each["messageId"] for each in batch}) == 3
    assert {each["eventSourceARN"] for each in batch} == {"arn:aws:sqs:us-east-1:123456789012:Embedder"}


def test_the_figures_are_those_of_the_command_that_they_name(capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads(durations.FIGURES.read_text())

    said = durations.told(kept)

    assert kept["command"] == "python -m benchmarks.durations --write"
    assert f"{sum(kept['database_bytes'].values()):,}" in said
    assert all(function in said for function in kept["messages"])
    with pytest.raises(SystemExit):
        durations.main(["--help"])
    assert "--write" in capsys.readouterr().out
