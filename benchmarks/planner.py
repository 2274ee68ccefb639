"""The planner over a million items: `python -m benchmarks.planner`.

It selects them, estimates, and writes their manifest in one invocation, in a process whose memory is
measured. PostgreSQL is the embedded one; S3 is moto, in the process that started it.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks import postgres

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-east-1"
ITEMS, QUICK_ITEMS = 1_000_000, 50_000
LIMIT_SECONDS = 60.0
LIMIT_MB = 512
"""What a run over a million items may take, on two cores."""

FILL = """
INSERT INTO items (user_id, item_id, filename, object_key, status, analysis_version, object_version,
                   image_width, image_height)
SELECT 'user-' || n %% 50, gen_random_uuid(), 'IMG.jpg', 'key-' || n, 'ready', 1, 'v1', 2048, 1365
  FROM generate_series(1, %(items)s) AS n
"""

DESCRIBED = """
INSERT INTO analyses (user_id, item_id, version, object_version, category, headline, summary, raw_response,
                      provider_used, model_used, prompt_hash)
SELECT user_id, item_id, 1, 'v1', 'photo', 'A picture', '', '{}', 'anthropic', 'm-1', 'old' FROM items
"""


def plan() -> None:
    """Run the handler once, and print what it took. In the measured process."""
    from functions.scan_planner.handler import lambda_handler

    class Context:
        function_name = "scan_planner"
        memory_limit_in_mb = "1024"
        invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
        aws_request_id = "00000000-0000-4000-8000-000000000000"

        def get_remaining_time_in_millis(self) -> int:
            return 300_000

    event = json.loads(sys.stdin.read())
    began = time.perf_counter()
    answer = lambda_handler(event, Context())  # type: ignore[arg-type]
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mb": peak, "answer": answer}) + "\n")


def measure(count: int) -> dict[str, Any]:
    """Return what planning a run over so many items took."""
    import boto3
    import psycopg
    from moto.server import ThreadedMotoServer

    from local import resources, template

    with ExitStack() as stack:
        database = stack.enter_context(postgres.migrated())
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        moto.start()
        stack.callback(moto.stop)
        with psycopg.connect(database, autocommit=True) as connection:
            for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '4GB'"):
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")
            # Nobody asks what the triggers would keep.
            connection.execute("SET session_replication_role = replica")
            connection.execute(FILL, {"items": count})
            connection.execute(DESCRIBED)
            connection.execute("VACUUM ANALYZE")
        url = "http://{}:{}".format(*moto.get_host_and_port())
        described = template.load(ROOT / "template.yaml")

        def client(service: str) -> Any:
            return boto3.client(
                service,
                endpoint_url=url,
                region_name=REGION,
                aws_access_key_id="bench",
                aws_secret_access_key="bench",  # noqa: S106 - nobody checks it
            )

        made = resources.create(described, client)
        environment = resources.environment(described, made, "ScanPlanner")
        # Of a million items it is the time that is asked for: the money is there.
        environment |= {"EMBEDDER": "offline", "MODEL_BUDGET_USD": "1000000"}
        client("ssm").put_parameter(
            Name=environment["DATABASE_URL_PARAMETER"], Value=database, Type="SecureString"
        )
        run_id = str(uuid4())
        event = {
            "input": {"run_id": run_id, "select": {"stale": True}, "stages": ["analyze", "embed"]},
            "execution": f"{made.ref('Reprocess').replace('stateMachine', 'execution')}:{run_id}",
            "question": {
                "prompt_hash": "now",
                "providers": [{"provider": "anthropic", "model": "m-2", "input_usd": 1.0, "output_usd": 5.0}],
            },
        }
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-c", "from benchmarks.planner import plan; plan()"],
            input=json.dumps(event),
            cwd=ROOT,
            env={
                "PATH": os.defpath,
                "AWS_ENDPOINT_URL": url,
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
                "LAMBDA_TASK_ROOT": str(ROOT),
                "POWERTOOLS_LOG_LEVEL": "CRITICAL",
                **{name: value for name, value in environment.items() if name != "POWERTOOLS_LOG_LEVEL"},
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        stored = client("s3").head_object(Bucket=found["answer"]["bucket"], Key=found["answer"]["manifest"])
        return {
            "items": found["answer"]["items"],
            "seconds": round(found["seconds"], 1),
            "peak_mb": round(found["peak_mb"]),
            "manifest_mb": round(stored["ContentLength"] / 2**20),
        }


def told(found: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    return (
        f"{found['items']:,} items planned in one invocation\n\n"
        f"{'seconds':16}{found['seconds']:9.1f}   goal ≤ {LIMIT_SECONDS:g}\n"
        f"{'peak MB':16}{found['peak_mb']:9}   goal ≤ {LIMIT_MB}\n"
        f"{'manifest MB':16}{found['manifest_mb']:9}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether it is within its limits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS:,} items")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--items", type=int, help="how many")
    given = parser.parse_args(arguments)
    count = given.items or (QUICK_ITEMS if given.quick else ITEMS)
    found = measure(count)
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if given.json else told(found))
    within = found["items"] == count and found["seconds"] <= LIMIT_SECONDS and found["peak_mb"] <= LIMIT_MB
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
