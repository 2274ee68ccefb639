"""A function that does what a test tells it, under AWS's runtime client."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

cold = True


def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    global cold
    was_cold, cold = cold, False
    match event.get("do"):
        case "sleep":
            time.sleep(event["seconds"])
        case "raise":
            raise ValueError(event["message"])
        case "exit":
            os._exit(event["code"])
        case "nan":
            return {"value": object()}
        case "large":
            return "x" * event["bytes"]
        case "meet":
            # Returns only when as many others run at the same time.
            folder = Path(event["folder"])
            (folder / str(os.getpid())).touch()
            while len(list(folder.iterdir())) < event["count"]:
                time.sleep(0.005)
        case "spawn":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            if event.get("wait"):
                child.wait()
            return {"child": child.pid}
        case "print":
            print(event["text"])  # noqa: T201
    return {
        "pid": os.getpid(),
        "cold": was_cold,
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "environment": dict(os.environ) if event.get("do") == "environment" else None,
        "zone": time.tzname[0],
        "event": event,
    }
