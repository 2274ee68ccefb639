"""Runs: work over many items, done by the state machine. What those who start, plan and report them share.

Whoever starts one writes its row first and then starts an execution that is named after it. Both are
harmless to do twice, so that a crash between them is mended by doing them again.
"""

from typing import Annotated, Any, Final, Literal, get_args
from uuid import NAMESPACE_URL, UUID, uuid5

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import (
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from shared import clients
from shared.errors import MagpieError, TransientError
from shared.events import UserId
from shared.models import Model
from shared.text import clean

EVERYBODY: Final = "*"
"""The owner of a run over everybody's items: the operator, who is no user. No route of the API shows it."""

Step = Literal["process", "analyze", "embed"]
STEPS: tuple[Step, ...] = get_args(Step)
Kind = Literal["reprocess", "replay", "vector_index", "scan", "nightly", "check", "ingest", "console"]
RunStatus = Literal["queued", "running", "planned", "succeeded", "failed", "cancelled", "timed_out"]
ENDED: frozenset[str] = frozenset({"planned", "succeeded", "failed", "cancelled", "timed_out"})

MAX_IDS = 1000
"""Ids that one request may name: with them the input stays far below Step Functions' 262,144 bytes."""
MAX_USD = 1_000_000

Plain = Annotated[str, BeforeValidator(lambda value: clean(value) if isinstance(value, str) else value)]
Reason = Annotated[Plain, StringConstraints(max_length=500)]


class Selection(Model):
    """Which items: those that fit everything that is said. Nothing said is nobody's wish."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ids: tuple[UUID, ...] | None = Field(None, min_length=1, max_length=MAX_IDS)
    status: (
        Literal["pending", "processed", "analyzed", "ready", "rejected", "failed", "over_quota"] | None
    ) = None
    stale: bool = Field(False, description="described after another prompt or by another model than now")
    stale_model: bool = Field(False, description="described by another model than is asked now")
    stale_prompt: bool = Field(False, description="described after another prompt than is used now")
    category: Annotated[Plain, StringConstraints(min_length=1, max_length=200)] | None = None
    since: AwareDatetime | None = Field(None, description="created then or later")
    until: AwareDatetime | None = Field(None, description="created before then")
    failed_in: UUID | None = Field(None, description="those that failed in this run of the same owner")
    all: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> "Selection":
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("select something, or say all")
        return self


class RunInput(Model):
    """The input of an execution, by whoever starts it: the API, a schedule, or a person in the console.

    Attributes:
        user_id: whose items; None means everybody's.
        run_id: None where a person started the execution; it is derived from its ARN then.
        trim: take as many items as `max_cost_usd` pays for, instead of failing.
        force: ask for new analyses of what has been described the same way already.
        prefix: of the uploads bucket, whose objects are to become items; for `kind: ingest` only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    user_id: UserId | None = None
    run_id: UUID | None = None
    scan_id: UUID | None = None
    kind: Kind = "console"
    select: Selection | None = None
    stages: tuple[Step, ...] = Field(STEPS, min_length=1, max_length=len(STEPS))
    check: Literal["objects"] | None = None
    prefix: Annotated[str, StringConstraints(min_length=2, max_length=900, pattern=r"^[^/\x00]+/")] | None = (
        None
    )
    dry_run: bool = False
    max_cost_usd: float | None = Field(None, ge=0, le=MAX_USD)
    trim: bool = False
    force: bool = False
    reason: Reason = ""

    @model_validator(mode="after")
    def _says_which(self) -> "RunInput":
        if sum(each is not None for each in (self.select, self.check, self.prefix)) != 1:
            raise ValueError("say one of select, check and prefix")
        if self.trim and self.max_cost_usd is None:
            raise ValueError("trim needs max_cost_usd")
        if self.prefix and self.user_id and not self.prefix.startswith(f"{self.user_id}/"):
            raise ValueError("a user's prefix begins with the user's id; leave out user_id for others'")
        return self

    @property
    def owner(self) -> str:
        """Whose run it is."""
        return self.user_id or EVERYBODY

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON value, without what is not said."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | {
            "stages": list(self.stages)
        }


def folders(owner: str) -> str:
    """Return what the keys of the working files of an owner's runs begin with, in the media bucket.

    They lie side by side under the name that nobody has, so that one rule of the bucket expires manifests,
    plans, and what Step Functions itself writes and nobody can tag.
    """
    return f"{EVERYBODY}/runs/{owner}/"


def folder(owner: str, run_id: UUID) -> str:
    """Return where a run's working files are."""
    return f"{folders(owner)}{run_id}"


def report_key(owner: str, run_id: UUID) -> str:
    """Return the key of a run's report, but for its suffix.

    A person's lies among what is theirs, and stays as long as the run's row. The operator's names others'
    items, and expires with the working files.
    """
    return f"{folder(owner, run_id)}/report" if owner == EVERYBODY else f"{owner}/reports/{run_id}"


class ExecutionGoneError(MagpieError):
    """Step Functions knows no such execution."""


def whose(owner: str, of_one: str, of_all: str) -> str:
    """Return the statement for an owner's run: over their own items, or over everybody's for the operator."""
    return of_all if owner == EVERYBODY else of_one


def execution_arn(state_machine: str, name: str) -> str:
    """Return the ARN of a state machine's execution."""
    return f"{state_machine.replace(':stateMachine:', ':execution:', 1)}:{name}"


def id_of(arn: str, asked: RunInput) -> UUID:
    """Return a run's id: what its input says, or one derived from its execution, which a redrive keeps."""
    return asked.run_id or uuid5(NAMESPACE_URL, f"magpie:run:{arn}")


CREATE = """
INSERT INTO scan_runs (user_id, run_id, scan_id, kind, request)
VALUES (%(user_id)s, %(run_id)s, %(scan_id)s, %(kind)s, %(request)s)
    ON CONFLICT (user_id, run_id) DO NOTHING
"""


def row(asked: RunInput) -> dict[str, Any]:
    """Return the values of a run's new row."""
    from psycopg.types.json import Jsonb

    return {
        "user_id": asked.owner,
        "run_id": asked.run_id,
        "scan_id": asked.scan_id,
        "kind": asked.kind,
        "request": Jsonb(asked.as_json()),
    }


def stop(arn: str, cause: str) -> None:
    """Stop an execution and what it has set going; one that is over stays as it is.

    Raises:
        TransientError: Step Functions did not answer.
    """
    try:
        clients.stepfunctions().stop_execution(executionArn=arn, error="Cancelled", cause=cause)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
            raise TransientError("the execution was not stopped") from error
    except BotoCoreError as error:
        raise TransientError("Step Functions did not answer") from error


def describe(arn: str) -> dict[str, Any]:
    """Return how an execution stands: `status`, `input` as text, `error` and `cause` where it failed.

    Raises:
        ExecutionGoneError: there is none.
        TransientError: Step Functions did not answer.
    """
    try:
        return dict(clients.stepfunctions().describe_execution(executionArn=arn))
    except ClientError as error:
        if error.response["Error"]["Code"] == "ExecutionDoesNotExist":
            raise ExecutionGoneError(arn) from error
        raise TransientError("Step Functions did not answer as it should") from error
    except BotoCoreError as error:
        raise TransientError("Step Functions did not answer") from error
