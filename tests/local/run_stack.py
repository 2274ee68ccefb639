"""Run the stack in a process of its own, as the command line does, and say on stdout when it is ready."""

import argparse
import json
import sys
from pathlib import Path

from local.stack import ROOT, Stack, StackError
from local.template import TemplateError


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--template", type=Path, default=ROOT / "template.yaml")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--aws-port", type=int, default=0)
    parser.add_argument("--parameter", action="append", default=[])
    parser.add_argument("--environment", action="append", default=[])
    given = parser.parse_args()
    stack = Stack(
        given.data,
        given.port,
        given.aws_port,
        template=given.template,
        parameters=dict(pair.split("=", 1) for pair in given.parameter),
        environment=dict(pair.split("=", 1) for pair in given.environment),
        say=lambda sentence: print(sentence, file=sys.stderr, flush=True),  # noqa: T201
    )

    def ready(stack: Stack) -> None:
        print(json.dumps({"seconds": stack.start_seconds}), flush=True)  # noqa: T201

    try:
        stack.run(ready)
    except (StackError, TemplateError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
