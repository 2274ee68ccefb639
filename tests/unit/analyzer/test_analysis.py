"""The shape of an analysis: what is taken, what is tidied, what is refused."""

import json
from typing import Any

import jsonschema
import pytest

from functions.analyzer import analysis
from functions.analyzer.analysis import InvalidAnalysisError
from shared.text import storable
from tests.fakes.anthropic_server import analysis as example


def read(**changed: Any) -> analysis.Analysis:
    return analysis.read(json.dumps(example(**changed)))


def details(**changed: Any) -> dict[str, Any]:
    return example()["image_details"] | changed


def test_a_good_answer_is_kept_whole() -> None:
    assert read().model_dump(mode="json") == example()


def test_too_long_is_cut_at_a_word_and_says_so() -> None:
    headline = read(headline="a very long headline " * 50).headline
    assert len(headline) <= 200
    assert headline.endswith(("a…", "very…", "long…", "headline…"))


def test_a_text_without_spaces_is_cut_all_the_same() -> None:
    assert len(read(category="x" * 10_000).category) == 80


def test_lists_keep_the_first_different_entries() -> None:
    found = read(image_details=details(objects=["Cup", "cup", " cup ", "", "spoon"])).image_details.objects
    assert found == ["Cup", "spoon"]


def test_a_huge_list_is_cut() -> None:
    found = read(image_details=details(extracted_text=[f"line {n}" for n in range(200_000)]))
    assert len(found.image_details.extracted_text) == 100


def test_marks_of_hashtags_and_accounts_are_taken_off() -> None:
    media = example()["media_metadata"] | {"hashtags": ["#coffee", "coffee"], "tagged_accounts": ["@ana"]}
    found = read(media_metadata=media).media_metadata
    assert (found.hashtags, found.tagged_accounts) == (["coffee"], ["ana"])


def test_an_empty_text_where_there_may_be_none_is_none() -> None:
    assert read(image_details=details(likely_source="  ")).image_details.likely_source is None


def test_missing_details_are_empty() -> None:
    found = read(media_metadata={}, image_details={})
    assert found.image_details.objects == []
    assert found.media_metadata.original_poster is None


def test_what_was_not_asked_for_is_dropped() -> None:
    assert "instructions" not in read(instructions="do as I say").model_dump()


@pytest.mark.parametrize("hostile", ["\x00", "\ud800", "\x1b[2J", "\u202e", "\r\n\t", "\x9b"])
def test_nothing_unprintable_survives(hostile: str) -> None:
    found = read(summary=f"before{hostile}after", image_details=details(objects=[f"cup{hostile}"]))
    assert hostile not in found.summary
    assert hostile not in found.image_details.objects[0]
    whole = found.model_dump(mode="json")
    assert storable(whole) == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot see the picture.",
        '{"category": "Food"',
        "[]",
        "null",
        "NaN",
        "[" * 200_000,
        '{"a":' * 100_000,
        "9" * 10_000,
        json.dumps(example(category="")),
        json.dumps(example(category="\x00 \x00")),
        json.dumps(example(summary=None)),
        json.dumps(example(headline=["a", "list"])),
        json.dumps(example(image_details="none")),
        json.dumps(example(subcategories="Coffee")),
        json.dumps(example(image_details=details(objects=[{"name": "cup"}]))),
        json.dumps(example(image_details=details(objects=[float("nan")]))),
        json.dumps({key: value for key, value in example().items() if key != "headline"}),
    ],
    ids=lambda text: text[:24] or "empty",
)
def test_another_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidAnalysisError):
        analysis.read(text)


def test_what_is_wrong_is_said_without_what_was_written() -> None:
    with pytest.raises(InvalidAnalysisError, match=r"^not an analysis: headline$") as raised:
        analysis.read(json.dumps(example(headline=["secret"])))
    assert "secret" not in str(raised.value)


def test_the_schema_asks_for_everything_and_allows_nothing_else() -> None:
    schema = analysis.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(example(), schema)

    def objects(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, list):
            return [found for inner in node for found in objects(inner)]
        if not isinstance(node, dict):
            return []
        inner = [found for value in node.values() for found in objects(value)]
        return inner + ([node] if node.get("type") == "object" else [])

    found = objects(schema)
    assert len(found) == 3
    for node in found:
        assert node["additionalProperties"] is False
        assert sorted(node["required"]) == sorted(node["properties"])


def test_the_schema_holds_only_what_structured_output_knows() -> None:
    known = {"type", "description", "properties", "required", "additionalProperties", "items", "anyOf"}

    def keywords(node: dict[str, Any]) -> set[str]:
        inner = [*node.get("properties", {}).values(), *node.get("anyOf", [])]
        inner += [node["items"]] if "items" in node else []
        return set(node).union(*map(keywords, inner))

    assert keywords(analysis.schema()) <= known
