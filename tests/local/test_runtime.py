"""Functions in processes of their own, under AWS's runtime client."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from local.functions import Function
from local.guardian import Guardian
from local.runtime import MAX_PAYLOAD_BYTES, PayloadTooLargeError, Pool, PoolClosedError, Result

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    guardian = Guardian()
    yield guardian
    guardian.stop()


@pytest.fixture
def make_pool(guardian: Guardian, tmp_path: Path) -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(module: str = "probe", *, timeout: int = 30, limit: int = 2, **environment: str) -> Pool:
        function = Function(
            logical_id="Probe",
            name="magpie-Probe",
            arn="arn:aws:lambda:us-east-1:123456789012:function:magpie-Probe",
            handler=f"tests.local.functions.{module}.lambda_handler",
            timeout=timeout,
            memory=256,
            environment=environment,
        )
        pool = Pool(
            function,
            limit=limit,
            endpoint="http://127.0.0.1:1",
            extra={"EXTRA": "yes"},
            root=ROOT,
            logs=tmp_path,
            guardian=guardian,
        )
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()


def invoke(pool: Pool, **event: object) -> dict[str, object]:
    result = pool.invoke(json.dumps(event).encode())
    assert result.error is None, result.payload
    return result.json()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_an_environment_is_kept_warm(make_pool):
    pool = make_pool()
    first, second = invoke(pool), invoke(pool)
    assert (first["cold"], second["cold"]) == (True, False)
    assert first["pid"] == second["pid"] != os.getpid()
    assert first["request_id"] != second["request_id"]


def test_the_context_is_lambdas(make_pool):
    answer = invoke(make_pool(timeout=7))
    assert answer["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:magpie-Probe"
    assert 5000 < answer["remaining_ms"] <= 7000
    assert answer["zone"] == "UTC"


def test_a_function_sees_the_templates_variables_and_nothing_of_this_machine(make_pool, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a secret of the person who started the stack")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    seen = invoke(make_pool(GIVEN="by the template"), do="environment")["environment"]
    assert seen["GIVEN"] == "by the template"
    assert seen["EXTRA"] == "yes"
    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert seen["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "127.0.0.1" in seen["NO_PROXY"]
    assert not {"ANTHROPIC_API_KEY", "HOME", "PYTEST_CURRENT_TEST"} & set(seen)


def test_an_exception_is_an_unhandled_function_error(make_pool):
    pool = make_pool()
    result = pool.invoke(json.dumps({"do": "raise", "message": "no such luck"}).encode())
    assert result.error == "Unhandled"
    assert result.json()["errorType"] == "ValueError"
    assert result.json()["errorMessage"] == "no such luck"
    assert invoke(pool)["cold"] is False


def test_an_answer_that_is_not_json_is_an_error(make_pool):
    result = make_pool().invoke(b'{"do": "nan"}')
    assert (result.error, result.json()["errorType"]) == ("Unhandled", "Runtime.MarshalError")


def test_a_function_that_runs_into_its_time_out_is_ended_and_replaced(make_pool):
    pool = make_pool(timeout=1)
    pid = invoke(pool)["pid"]
    started = time.monotonic()
    result = pool.invoke(json.dumps({"do": "sleep", "seconds": 60}).encode())
    assert time.monotonic() - started < 5
    assert result.error == "Unhandled"
    assert result.json()["errorType"] == "Sandbox.Timedout"
    assert result.json()["errorMessage"].endswith("Task timed out after 1.00 seconds")
    wait_until(lambda: gone(pid))
    assert invoke(pool)["cold"] is True


def test_what_a_function_has_started_ends_with_it(make_pool):
    pool = make_pool(timeout=1)
    child = invoke(pool, do="spawn")["child"]
    pool.invoke(json.dumps({"do": "sleep", "seconds": 60}).encode())
    wait_until(lambda: gone(child))


def test_a_process_that_exits_is_an_error_and_is_replaced(make_pool):
    pool = make_pool()
    result = pool.invoke(json.dumps({"do": "exit", "code": 3}).encode())
    assert result.error == "Unhandled"
    assert result.json()["errorType"] == "Runtime.ExitError"
    assert result.json()["errorMessage"].endswith("Runtime exited with error: exit status 3")
    assert invoke(pool)["cold"] is True


def begin(pool: Pool, threads: ThreadPoolExecutor, folder: Path) -> "Future[Result]":
    """Start an invocation that never ends, and return when the function is at it."""
    folder.mkdir()
    event = {"do": "meet", "folder": str(folder), "count": 99}
    answer = threads.submit(pool.invoke, json.dumps(event).encode())
    wait_until(lambda: bool(list(folder.iterdir())))
    return answer


def test_a_process_killed_at_work_is_an_error(make_pool, tmp_path):
    pool = make_pool()
    pid = invoke(pool)["pid"]
    with ThreadPoolExecutor() as threads:
        answer = begin(pool, threads, tmp_path / "begun")
        os.kill(pid, signal.SIGKILL)
        result = answer.result(10)
    assert result.json()["errorMessage"].endswith("Runtime exited with error: signal: killed")


def test_a_process_killed_while_idle_costs_nobody_anything(make_pool):
    pool = make_pool()
    pid = invoke(pool)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert invoke(pool)["pid"] != pid


def test_a_function_that_cannot_be_imported_says_why(make_pool):
    pool = make_pool("broken")
    for _ in range(2):
        result = pool.invoke(b"{}")
        assert result.error == "Unhandled"
        assert result.json()["errorType"] == "Runtime.ImportModuleError"
        assert "No module named 'no_such_module'" in result.json()["errorMessage"]


def test_as_many_run_at_once_as_the_limit_allows_and_no_more(make_pool, tmp_path):
    pool = make_pool(limit=3)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    with ThreadPoolExecutor(12) as threads:
        together = [threads.submit(invoke, pool, do="meet", folder=str(meeting), count=3) for _ in range(12)]
        pids = {answer.result(30)["pid"] for answer in together}
    assert len(pids) == 3
    assert set(pool.environments()) == pids


def test_one_after_the_other_needs_only_one_environment(make_pool):
    pool = make_pool(limit=3)
    assert len({invoke(pool)["pid"] for _ in range(5)}) == 1


def test_lambdas_size_limits_hold(make_pool):
    pool = make_pool()
    with pytest.raises(PayloadTooLargeError):
        pool.invoke(b" " * (MAX_PAYLOAD_BYTES + 1))
    result = pool.invoke(json.dumps({"do": "large", "bytes": 7_000_000}).encode())
    assert result.json()["errorType"] == "Function.ResponseSizeTooLarge"
    assert len(pool.invoke(json.dumps({"do": "large", "bytes": 6_000_000}).encode()).payload) == 6_000_002


def test_what_a_function_prints_is_in_its_log(make_pool, tmp_path):
    invoke(make_pool(), do="print", text="hello from inside")
    assert "hello from inside" in (tmp_path / "Probe.log").read_text()


def test_closing_ends_every_process_and_those_who_wait_hear_of_it(make_pool, tmp_path):
    pool = make_pool(limit=1)
    pid = invoke(pool)["pid"]
    with ThreadPoolExecutor() as threads:
        busy = begin(pool, threads, tmp_path / "begun")
        waiting = threads.submit(pool.invoke, b"{}")
        wait_until(lambda: bool(pool._waiters))
        pool.close()
        assert busy.result(5).error == "Unhandled"
        with pytest.raises(PoolClosedError):
            waiting.result(5)
    assert gone(pid)
    with pytest.raises(PoolClosedError):
        pool.invoke(b"{}")


@pytest.mark.quiet
def test_a_warm_pool_answers_within_milliseconds(make_pool):
    pool = make_pool()
    invoke(pool)
    took = []
    for _ in range(50):
        started = time.perf_counter()
        pool.invoke(b"{}")
        took.append(time.perf_counter() - started)
    assert sorted(took)[25] < 0.02
