"""What the state machine did, told from Step Functions' history in a line for each step."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from functions.api.run_answers import History, StateEvent
from shared import clients
from shared.errors import TransientError

MOST_EVENTS = 1000
"""Events of Step Functions that are read: a run over a million has some fifteen for each part."""
TOLD = re.compile(r"(StateEntered|Failed|TimedOut|Aborted|Succeeded|MapRunStarted|ExecutionStarted)$")
"""What a person wants to know; each step has several events besides."""
DETAIL_CHARACTERS = 300


def read(run_id: UUID, execution: str | None) -> History:
    """Return the history of an execution.

    Raises:
        TransientError: Step Functions did not answer.
    """
    if execution is None:
        return History(run_id=run_id, execution=None, events=[], more=False)
    try:
        answer = clients.stepfunctions().get_execution_history(
            executionArn=execution, maxResults=MOST_EVENTS, includeExecutionData=False
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ExecutionDoesNotExist":
            # A queued run that is just being started, or one of 90 days ago.
            return History(run_id=run_id, execution=execution, events=[], more=False)
        raise TransientError("the history could not be read") from error
    except BotoCoreError as error:
        raise TransientError("Step Functions did not answer") from error
    return History(
        run_id=run_id,
        execution=execution,
        events=list(lines(answer["events"])),
        more="nextToken" in answer,
    )


def lines(events: Iterable[Mapping[str, Any]]) -> Iterable[StateEvent]:
    """Yield a line for each event that tells something."""
    state: str | None = None
    for event in events:
        kind = str(event["type"])
        details: Mapping[str, Any] = next(
            (value for name, value in event.items() if name.endswith("EventDetails")), {}
        )
        if kind.endswith("StateEntered"):
            state = details.get("name")
        if kind.startswith("Execution"):
            state = None
        if TOLD.search(kind):
            yield StateEvent(at=event["timestamp"], event=kind, state=state, detail=_detail(details))


def _detail(details: Mapping[str, Any]) -> str | None:
    """Return the error of a step in a line: its name, and its sentence where it is one of ours."""
    error = details.get("error")
    if not error:
        return None
    try:
        cause = json.loads(details.get("cause") or "")
        sentence = cause.get("errorMessage", "") if isinstance(cause, dict) else ""
    except (ValueError, RecursionError):
        sentence = details.get("cause") or ""
    return f"{error}: {sentence}"[:DETAIL_CHARACTERS].rstrip(": ")
