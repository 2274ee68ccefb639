"""Describe an uploaded picture: ask a vision model, and store a new version of its analysis."""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from functions.analyzer import chain, claude, imported, models, offline, prompt, versions, web_image
from functions.analyzer.providers import Provider, chosen
from functions.analyzer.replies import StoredReplies
from functions.analyzer.verdict import ProviderError
from functions.analyzer.versions import Item, Question, SupersededError
from shared import holding, parameters
from shared.bus import publish
from shared.envelopes import Message, respond
from shared.erasures import AccountDeletedError
from shared.errors import RejectedError
from shared.events import AnalysisComplete, Contract, ModelId, ProviderName, RunId, UserId
from shared.quotas import OverQuotaError
from shared.settings import Settings

logger = Logger()

ANALYZERS = r"^(auto|(anthropic|bedrock|offline)(,(anthropic|bedrock|offline))*)$"


class Env(Settings):
    """What the template must give."""

    media_bucket: str = Field(alias="MEDIA_BUCKET")
    analyzer: str = Field(alias="ANALYZER", pattern=ANALYZERS)
    anthropic_model: str = Field(alias="ANTHROPIC_MODEL", min_length=1)
    anthropic_key_parameter: str = Field(alias="ANTHROPIC_KEY_PARAMETER", min_length=1)
    bedrock_model: str = Field(alias="BEDROCK_MODEL", min_length=1)


class ToAnalyze(Contract):
    """What `ImageProcessed` says of it, or a direct payload.

    Where the picture is follows from whose it is, and is not taken from the event.
    """

    user_id: UserId
    item_id: UUID
    object_version: str | None = Field(None, description="None: whichever is current")
    run_id: RunId | None = Field(None, description="asks for a new analysis on purpose, once for each value")
    providers: list[ProviderName] | None = Field(None, min_length=1, description="instead of ANALYZER")
    model: ModelId | None = Field(None, description="of every model that is asked")
    announce: bool = Field(True, description="whether the embedder is to be told")
    current: bool = Field(False, description="what an older prompt or another model said counts as nothing")


def asked(body: ToAnalyze, env: Env) -> Sequence[Provider]:
    """Return whom to ask, in order."""

    def key() -> str | None:
        return parameters.find(env.anthropic_key_parameter)

    return chosen(
        ",".join(body.providers) if body.providers else env.analyzer,
        anthropic=lambda: claude.anthropic(
            body.model or env.anthropic_model, key, env.anthropic_key_parameter
        ),
        bedrock=lambda: claude.bedrock(body.model or env.bedrock_model),
        offline=offline.Offline,
        has_key=lambda: key() is not None,
    )


def process(message: Message[ToAnalyze], seconds_left: Callable[[], float]) -> Mapping[str, Any]:
    body = message.body
    item = versions.find(body.user_id, body.item_id)
    reason = versions.ignored(item, body.object_version)
    if item is None or reason:
        logger.info("nothing to analyze", item_id=str(body.item_id), reason=reason)
        return {"status": "ignored", "reason": reason}
    question = Question(prompt.prompt_hash(), body.run_id or "")
    try:
        try:
            event = analyzed(message, item, question, seconds_left)
        except RejectedError as error:
            return end(message, item, question, error)
        except OverQuotaError as error:
            return wait(message, item, question, error)
        except ProviderError as error:
            if body.providers is None and body.model is None:
                raise
            return decline(item, question, error)
    except SupersededError:
        logger.info("superseded while it was analyzed", item_id=str(item.item_id))
        return {"status": "ignored", "reason": "another version of the object"}
    except AccountDeletedError:
        logger.info("account was deleted while it was analyzed", item_id=str(item.item_id))
        return {"status": "ignored", "reason": "deleted account"}
    if body.announce and versions.unannounced(event):
        publish([event], message.correlation_id)
    return {"status": "analyzed", **event.model_dump(mode="json")}


def analyzed(
    message: Message[ToAnalyze], item: Item, question: Question, seconds_left: Callable[[], float]
) -> AnalysisComplete:
    """Return the event of the analysis that is asked for, which is stored by then."""
    env, body, started = Env.load(), message.body, time.monotonic()
    providers = asked(body, env)
    particular = body.current or body.providers is not None or body.model is not None
    event = versions.existing(item, question, providers if particular else None)
    if event is None and not particular and not question.run_id:
        event = imported.adopt(item, question, timedelta(seconds=time.monotonic() - started))
    if event is None:
        replies = StoredReplies.about(item, question)
        picture = web_image.once(item, env.media_bucket)
        answer = chain.describe(providers, replies, picture, message.attempt, seconds_left)
        took = timedelta(seconds=time.monotonic() - started)
        event = versions.store(item, question, answer, trace_root(), took)
    return event


def end(
    message: Message[ToAnalyze], item: Item, question: Question, error: RejectedError
) -> Mapping[str, Any]:
    """Everybody was asked, and nobody gave an analysis."""
    logger.warning("nobody could describe it", item_id=str(item.item_id), code=error.code)
    rejected = versions.fail(item, question, error)
    if rejected is None:
        return {"status": "kept", "code": error.code}
    publish([rejected], message.correlation_id)
    return {"status": "failed", "code": error.code}


def wait(
    message: Message[ToAnalyze], item: Item, question: Question, error: OverQuotaError
) -> Mapping[str, Any]:
    """Whoever was to be asked may not be paid: nobody else is asked instead."""
    logger.warning("over quota", meter=holding.code(error), user_id=item.user_id, item_id=str(item.item_id))
    reached = versions.wait(item, question, error)
    if reached is not None:
        publish([reached], message.correlation_id)
    return {
        "status": "kept" if reached is None else holding.OVER_QUOTA,
        "code": holding.OVER_QUOTA,
        "reason": error.sentence,
    }


def decline(item: Item, question: Question, error: ProviderError) -> Mapping[str, Any]:
    """Somebody chose whom to ask, and they cannot be asked: nobody has to be called for that."""
    logger.warning("who was chosen cannot be asked", item_id=str(item.item_id), reason=str(error))
    said = RejectedError(
        "no_valid_analysis", "The provider or the model that was chosen cannot be asked here."
    )
    versions.keep(item, question, said)
    return {"status": "kept", "code": said.code}


def trace_root() -> str | None:
    """Return the id of the X-Ray trace that this invocation belongs to."""
    found = re.search(r"Root=([^;]+)", os.environ.get("_X_AMZN_TRACE_ID", ""))
    return found[1] if found else None


def what_is_asked(env: Env) -> dict[str, Any]:
    """Return which prompt and models describe pictures now, and what they cost, for whoever plans a run.

    Prices are in US dollars per million tokens; null where they are unknown, nought where nobody is paid.
    """
    whom = asked(ToAnalyze(user_id="nobody", item_id=UUID(int=0)), env)
    today = datetime.now(UTC).date()

    def price(provider: Provider, input_tokens: int, output_tokens: int) -> float | None:
        cost = models.cost(provider.name, provider.model, input_tokens, output_tokens, today)
        return 0.0 if not provider.costs else None if cost is None else float(cost)

    return {
        "prompt_hash": prompt.prompt_hash(),
        "providers": [
            {
                "provider": provider.name,
                "model": provider.model,
                "input_usd": price(provider, 1_000_000, 0),
                "output_usd": price(provider, 0, 1_000_000),
            }
            for provider in whom
        ],
    }


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    if event.get("about") == "question":
        return what_is_asked(Env.load())
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000
    return respond(
        event, context, ToAnalyze, partial(process, seconds_left=lambda: deadline - time.monotonic())
    )
