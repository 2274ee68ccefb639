"""The event contracts: the one place where the shape of an event is written down.

`events/<Name>/v1.schema.json` is generated from here by `make events`. An optional field needs no
new version; anything else gets a new model with the next version, and both are published until
nobody reads the old one. Data carries ids and S3 pointers, never content.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal, get_args
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from shared.models import Model

SOURCE = "magpie"

Stage = Literal["image_processor", "analyzer", "embedder"]

RejectionCode = Literal[
    # image_processor: what is wrong with the uploaded bytes
    "empty",
    "not_an_image",
    "unsupported_format",
    "truncated",
    "corrupt",
    "too_large",
    "too_many_pixels",
    "timed_out",
    "gone",
    # analyzer: every provider gave a final answer, and none of them can be used
    "refused",
    "no_valid_analysis",
    # embedder: no vector can be made of what was said about it
    "not_embeddable",
    # any stage: it was tried again and again, and never came to an end
    "stuck",
]
REJECTION_CODES: tuple[RejectionCode, ...] = get_args(RejectionCode)

MAX_CORRELATION_ID = 128
"""Characters of a correlation id."""
RunId = Annotated[str, StringConstraints(max_length=128, pattern=r"^[\x20-\x7e]+$")]

UserId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^/\x00]+$")]
ModelId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]

ProviderName = Literal["anthropic", "bedrock", "offline"]
"""Who can describe a picture."""


class Contract(Model):
    """Base of the contracts: immutable, and deaf to fields that a later minor addition brings."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Metadata(Contract):
    """What every event says about itself, whatever it is about."""

    version: Literal["1"] = "1"
    correlation_id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CORRELATION_ID)] = Field(
        description="follows a picture through every stage, log line and event"
    )
    occurred_at: AwareDatetime


class Announcement(Contract):
    """Data of an event."""

    detail_type: ClassVar[str]


class Event(Announcement):
    """Data of an event about something of one user: all of them, but for what comes from outside."""

    user_id: UserId = Field(description="whose it is: Cognito's `sub`, or the folder an operator uploaded to")


class ItemEvent(Event):
    """Data of an event about one item. `object_version` is the S3 version that it speaks of."""

    item_id: UUID
    object_version: str | None = Field(None, description="S3's version of the original that this speaks of")


class ImageProcessed(ItemEvent):
    """Web image and thumbnail are in the media bucket."""

    detail_type = "ImageProcessed"

    bucket: str
    image_key: str
    thumbnail_key: str
    width: int = Field(gt=0, description="of the original as shown, in pixels")
    height: int = Field(gt=0, description="of the original as shown, in pixels")
    duplicate_of: UUID | None = Field(None, description="the same user's older item with the same bytes")
    run_id: str | None = Field(None, description="set when a re-run asks for a new analysis on purpose")


class AnalysisComplete(ItemEvent):
    """A new version of the analysis is stored."""

    detail_type = "AnalysisComplete"

    analysis_version: int = Field(ge=1)
    provider: str
    model: str
    run_id: str | None = Field(None, description="set when a re-run asked for this analysis")


class EmbeddingComplete(ItemEvent):
    """The item can be searched by meaning."""

    detail_type = "EmbeddingComplete"

    analysis_version: int = Field(ge=1)
    model: str
    dimensions: int = Field(ge=1)


class ItemRejected(ItemEvent):
    """The item cannot be processed, and why."""

    detail_type = "ItemRejected"

    stage: Stage
    code: RejectionCode
    message: str = Field(description="one sentence for the person who uploaded it")


class RenditionRequested(ItemEvent):
    """Somebody asked for new derivatives of an item that has some."""

    detail_type = "RenditionRequested"

    run_id: RunId = Field(description="each value renders once, however often it is delivered")
    announce: bool = Field(True, description="whether the later stages are to be told")


class AnalysisRequested(ItemEvent):
    """Somebody asked for a new version of an item's analysis."""

    detail_type = "AnalysisRequested"

    run_id: RunId = Field(description="each value is analysed once, however often it is delivered")
    providers: list[ProviderName] | None = Field(
        None, min_length=1, description="in place of the deployment's"
    )
    model: ModelId | None = Field(None, description="in place of the deployment's")


class EmbeddingRequested(ItemEvent):
    """Somebody asked for an item's vector, or what it is made of has changed."""

    detail_type = "EmbeddingRequested"


class ErasureRequested(Event):
    """Somebody asked to have everything of theirs deleted."""

    detail_type = "ErasureRequested"

    erasure_id: UUID = Field(description="of the receipt")


class ExportRequested(Event):
    """Somebody asked for a copy of everything of theirs."""

    detail_type = "ExportRequested"

    export_id: UUID


RunOutcome = Literal["planned", "succeeded", "failed", "cancelled", "timed_out"]
"""How a run ends."""


class ScanComplete(Event):
    """A scan run ended, with its counts."""

    detail_type = "ScanComplete"

    run_id: UUID
    scan_id: UUID | None = Field(None, description="of the scan that it belongs to, if it belongs to one")
    kind: str = Field(description="what it was: `reprocess`, `replay`, `scan`, ...")
    status: RunOutcome
    planned: int | None = Field(None, ge=0, description="items that it was over, where that was known")
    done: int = Field(ge=0)
    ignored: int = Field(ge=0, description="items with nothing to do")
    rejected: int = Field(ge=0, description="items that can never be done as they are")
    failed: int = Field(ge=0, description="items that are worth a replay")
    findings: int = Field(0, ge=0, description="what a check found out")
    cost_usd: float = Field(ge=0)
    report_key: str = Field(description="of the report, in the media bucket")


class WebhookReceived(Announcement):
    """A provider told us something, which is verified and stored in `webhook_events`."""

    detail_type = "WebhookReceived"

    provider: Literal["stripe", "sns"]
    event_id: str = Field(min_length=1, max_length=255, description="the provider's")
    event_type: str = Field(description="the provider's word for what happened")


LimitedMeter = Literal["items", "storage_bytes", "model_usd", "deployment"]


class QuotaReached(Event):
    """Something of somebody waits, because it does not fit into what they may have."""

    detail_type = "QuotaReached"

    meter: LimitedMeter = Field(description="`deployment`: the budget that everybody shares")
    period: str = Field("", description="the month of UTC, of money")
    limit: float
    used: float
    resets_at: AwareDatetime | None = Field(None, description="null: only room or a higher limit helps")


class LimitsChanged(Event):
    """Somebody may have more than before, or less."""

    detail_type = "LimitsChanged"

    tier: str


EVENTS: tuple[type[Announcement], ...] = (
    ImageProcessed,
    AnalysisComplete,
    EmbeddingComplete,
    ItemRejected,
    RenditionRequested,
    AnalysisRequested,
    EmbeddingRequested,
    ErasureRequested,
    ExportRequested,
    ScanComplete,
    WebhookReceived,
    QuotaReached,
    LimitsChanged,
)


def detail(event: Announcement, correlation_id: str, occurred_at: datetime) -> dict[str, object]:
    """Return the `detail` of an EventBridge entry: `{"metadata": {...}, "data": {...}}`, JSON-ready."""
    metadata = Metadata(correlation_id=correlation_id, occurred_at=occurred_at)
    return {
        "metadata": metadata.model_dump(mode="json"),
        "data": event.model_dump(mode="json", exclude_none=True),
    }
