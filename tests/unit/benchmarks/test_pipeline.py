"""The benchmark of the pipeline: what it sends, and that it counts what the handlers take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import pipeline
from benchmarks.pipeline import Invocation, Used

HANDLER = """
import subprocess, sys, time

def work():
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass

def lambda_handler(event, context):
    work()
    subprocess.run([sys.executable, "-S", "-c", event["child"]], check=True)
"""
CALL = """
from awslambdaric import bootstrap
handler = bootstrap._get_handler("stages.waiter.handler.lambda_handler")
handler({"child": "import time; time.sleep(0.3)"}, None)
child = "import time\\nwhile time.process_time() < 0.2: pass"
handler({"child": child}, None)
"""


def test_every_photograph_is_another() -> None:
    made = [pipeline.picture(number) for number in range(0, 1300, 37)]
    assert len(set(made)) == len(made)
    assert all(body.startswith(b"\xff\xd8") for body in made)


def test_a_handler_is_metered_in_its_own_process_with_its_children(tmp_path: Path) -> None:
    code, figures = tmp_path / "stages" / "waiter", tmp_path / "figures"
    code.mkdir(parents=True)
    figures.mkdir()
    (code / "handler.py").write_text(HANDLER)
    meter = Path(pipeline.__file__).parent / "metered"
    environment = {**os.environ, "METERED": str(figures), "PYTHONPATH": f"{meter}{os.pathsep}{tmp_path}"}
    subprocess.run([sys.executable, "-c", CALL], env=environment, check=True)
    waited, worked = pipeline.invocations(figures, 0)
    assert waited.function == worked.function == "waiter"
    assert waited.ended - waited.began >= 0.4
    assert 0.1 <= waited.cpu < 0.3  # waiting costs nothing
    assert worked.cpu >= 0.3
    assert pipeline.invocations(figures, worked.began) == [worked]


def test_overhead_is_everything_beside_the_handlers() -> None:
    before = Used({"stack": 1.0, "database": 2.0, "analyzer": 3.0})
    after = Used({"stack": 1.5, "database": 2.25, "analyzer": 4.0, "embedder": 0.5})
    handled = [Invocation("analyzer", 0.8, 0, 1), Invocation("embedder", 0.2, 0, 1)]
    found = pipeline._by_process(after - before, handled, 10)
    assert found == {
        "handlers": 100.0,
        "functions, outside of the handlers": 50.0,
        "stack": 50.0,
        "database": 25.0,
        "overhead": 1.25,
    }


@pytest.mark.parametrize(("latency", "said"), [(399.0, "met"), (401.0, "NOT MET")])
def test_a_goal_that_is_missed_is_said_to_be(latency: float, said: str) -> None:
    first, *others = pipeline.verdicts(
        {
            "latency_ms": {"one at a time": {"p50_ms": latency}},
            "cpu_ms_per_item": {"overhead": 0.4},
            "powertools": {"ms": 0.1},
        }
    )
    assert first.startswith(f"{said:8}upload to ready")
    assert all(other.startswith("met ") for other in others)


def test_powertools_is_measured_by_what_the_stages_use() -> None:
    assert 0 < pipeline.powertools(rounds=20)["ms"] < 100
