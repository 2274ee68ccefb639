"""What became of an item, told from what its stages answered."""

import json
from typing import Any

import pytest

from functions.scan_recorder.verdict import MAX_MESSAGE, Failure, judge, message


@pytest.mark.parametrize(
    ("results", "outcome", "code"),
    [
        ({"process": {"status": "ready", "code": None}}, "done", None),
        # A row that says failed from before was rendered all the same.
        ({"process": {"status": "failed", "code": "refused"}}, "done", None),
        (
            {"process": {"status": "rejected", "code": "empty"}, "analyze": {"status": "ignored"}},
            "rejected",
            "empty",
        ),
        ({"process": {"status": "gone"}}, "rejected", "gone"),
        (
            {"analyze": {"status": "failed", "code": "refused"}, "embed": {"status": "ignored"}},
            "rejected",
            "refused",
        ),
        ({"analyze": {"status": "kept", "code": "refused"}}, "rejected", "refused"),
        ({"embed": {"status": "ItemRejected", "code": "not_embeddable"}}, "rejected", "not_embeddable"),
        ({"embed": {"status": "EmbeddingComplete"}}, "done", None),
        ({"process": {"status": "over_quota", "code": "model_usd"}}, "done", None),
        # What did not fit is worth a replay, whether the item waits or keeps what it had.
        ({"process": {"status": "over_quota", "code": "over_quota"}}, "failed", "over_quota"),
        (
            {"analyze": {"status": "over_quota", "code": "over_quota"}, "embed": {"status": "ignored"}},
            "failed",
            "over_quota",
        ),
        (
            {"analyze": {"status": "kept", "code": "over_quota"}, "embed": {"status": "EmbeddingComplete"}},
            "failed",
            "over_quota",
        ),
        ({"embed": {"status": "over_quota", "code": "over_quota"}}, "failed", "over_quota"),
        ({"analyze": {"status": "ignored"}, "embed": {"status": "ignored"}}, "ignored", None),
        ({"process": {"status": "ready"}, "analyze": {"status": "ignored"}}, "done", None),
        ({}, "ignored", None),
    ],
)
def test_the_stages_answers_make_an_outcome(
    results: dict[str, dict[str, Any]], outcome: str, code: str | None
) -> None:
    verdict = judge(results, None)
    assert (verdict.outcome, verdict.code) == (outcome, code)


def test_what_did_not_fit_is_told_in_the_stages_own_words() -> None:
    said = {"status": "over_quota", "code": "over_quota", "reason": "You have 5 of 5 items."}
    verdict = judge({"process": said}, None)
    assert (verdict.stage, verdict.message) == ("process", "You have 5 of 5 items.")
    assert verdict.stages == {"process": "failed"}


def test_a_stage_that_raised_failed_whatever_came_before() -> None:
    cause = json.dumps({"errorType": "TransientError", "errorMessage": "throttled", "stackTrace": ["secret"]})
    verdict = judge(
        {"process": {"status": "ready"}}, Failure(stage="analyze", error="TransientError", cause=cause)
    )
    assert verdict.stages == {"process": "done", "analyze": "failed"}
    assert (verdict.outcome, verdict.stage, verdict.code, verdict.message) == (
        "failed",
        "analyze",
        "TransientError",
        "throttled",
    )


def test_only_the_sentence_of_an_error_is_kept_and_it_is_clean() -> None:
    whole = json.dumps({"errorMessage": "a\x00b\ud800", "stackTrace": ["x" * 5000]})
    assert message(whole) == "ab?"
    cut = json.dumps({"errorMessage": "cut off", "stackTrace": ["x" * 5000]})[:1000]
    assert message(cut) == "cut off"
    assert message("States.Timeout") == "States.Timeout"
    assert message("[" * 100_000) == "[" * MAX_MESSAGE
    assert message("") == ""
