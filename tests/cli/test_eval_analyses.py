"""`magpie eval-analyses`: what models said of items, beside what they should have said."""

import json

import pytest

IDS = [f"01939c2f-71b0-7000-8000-00000000000{number}" for number in range(4)]
RECEIPT = {
    "category": "Receipt",
    "headline": "Receipt for two espressos",
    "summary": "A receipt from a café.",
    "image_details": {"extracted_text": ["Total 7,10", "Café Jaurès"], "objects": ["receipt"]},
}
GOLDEN = {"items": [{"item_id": item_id, "analysis": RECEIPT} for item_id in IDS[:2]]}


def version(number, model, analysis, provider="anthropic"):
    return {
        "version": number,
        "current": False,
        "provider": provider,
        "model": model,
        "created_at": "2026-11-20T10:00:00+00:00",
        "headline": analysis.get("headline") or "",
        "analysis": analysis,
    }


@pytest.fixture
def says(magpie, here):
    """Let an item have these versions, the newest first."""

    def put(item_id, *versions):
        pages = {None: versions[:2], "more": versions[2:]}

        def answer(request):
            asked = request.query.get("cursor")
            cursor = "more" if asked is None and versions[2:] else None
            return 200, {"analyses": list(pages[asked]), "next_cursor": cursor}

        magpie.answers["GET", f"/items/{item_id}/analyses"] = answer

    return put


@pytest.fixture
def golden(tmp_path):
    def write(content=GOLDEN):
        path = tmp_path / "golden.json"
        path.write_text(json.dumps(content))
        return str(path)

    return write


def test_every_model_is_compared_field_by_field(run, says, golden):
    wrong = {
        **RECEIPT,
        "category": "Bill",
        "image_details": {"extracted_text": ["Total 9,99"], "objects": []},
    }
    says(IDS[0], version(2, "small", wrong), version(1, "large", RECEIPT))
    says(IDS[1], version(2, "large", RECEIPT), version(1, "small", RECEIPT))

    ran = run("eval-analyses", golden(), "--json")

    assert ran.code == 0
    large, small = ran.json["models"]
    assert (large["provider"], large["model"], large["score"], large["count"]) == ("anthropic", "large", 1, 2)
    assert small["fields"] == {
        "category": {"score": 0.5, "count": 2},
        "headline": {"score": 1, "count": 2},
        "summary": {"score": 1, "count": 2},
        # One of two words, of four that there are: 2 * 1 / (2 + 4).
        "image_details.extracted_text": {"score": pytest.approx((1 / 3 + 1) / 2, abs=1e-6), "count": 2},
        "image_details.objects": {"score": 0.5, "count": 2},
    }
    assert [item["item_id"] for item in small["items"]] == [IDS[0], IDS[1]]
    assert (ran.json["missing_items"], ran.json["undescribed_items"]) == ([], [])


def test_of_each_model_the_newest_version_counts_on_whichever_page_it_is(run, says, golden):
    old, new = {**RECEIPT, "category": "Old"}, RECEIPT
    says(IDS[0], version(4, "small", new), version(3, "small", old), version(2, "large", new),
         version(1, "large", old))  # fmt: skip
    says(IDS[1], version(1, "small", new), version(1, "small", old, "bedrock"))

    models = run("eval-analyses", golden(), "--json").json["models"]

    compared = {
        (model["provider"], model["model"]): [item["version"] for item in model["items"]] for model in models
    }
    assert compared == {
        ("anthropic", "small"): [4, 1],
        ("anthropic", "large"): [2],
        ("bedrock", "small"): [1],
    }
    assert models[-1]["provider"] == "bedrock"


def test_items_that_are_not_there_or_not_described_are_told(run, says, golden):
    says(IDS[0], version(1, "small", RECEIPT))
    says(IDS[1])
    items = [{"item_id": item_id, "analysis": RECEIPT} for item_id in (*IDS[:3], "receipt.png")]
    path = golden({"items": items})

    ran = run("eval-analyses", path, "--json")

    assert ran.code == 1
    assert ran.json["missing_items"] == [IDS[2], "receipt.png"]
    assert ran.json["undescribed_items"] == [IDS[1]]
    assert ran.json["models"][0]["count"] == 1
    err = run("eval-analyses", path).err
    assert f"Not in this collection: 2 reviewed items, such as {IDS[2]}." in err
    assert f"Described by no model: 1 reviewed item, such as {IDS[1]}." in err


def test_models_that_described_other_items_cannot_simply_be_compared(run, says, golden):
    says(IDS[0], version(1, "small", RECEIPT))
    says(IDS[1], version(2, "small", RECEIPT), version(1, "large", RECEIPT))

    assert "did not describe the same items" in run("eval-analyses", golden()).err


def test_names_that_no_analysis_has_are_told(run, says, golden):
    says(IDS[0], version(1, "small", RECEIPT))

    ran = run(
        "eval-analyses", golden({"items": [{"item_id": IDS[0], "analysis": {**RECEIPT, "mood": "calm"}}]})
    )

    assert "No analysis has, so nothing was compared: mood." in ran.err


@pytest.mark.parametrize("columns", ["60", "80", "140"])
def test_the_figures_fit_the_terminal(run, says, golden, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for item_id in IDS[:2]:
        says(
            item_id,
            *(version(number, f"model-{number}", {**RECEIPT, "category": "?"}) for number in (3, 2, 1)),
        )

    ran = run("eval-analyses", golden())

    assert max(map(len, ran.out.splitlines())) <= int(columns)
    for part in ("anthropic model-1", "anthropic model-3", "extracted text", "Furthest from its review"):
        assert part in ran.out


def test_the_page_needs_nothing_beside_it_and_runs_nothing(run, says, golden, tmp_path):
    says(IDS[0], version(1, "<script>", {**RECEIPT, "headline": "<img src=x>", "category": "Bill"}))
    says(IDS[1], version(1, "<script>", RECEIPT))
    written = tmp_path / "page.html"

    assert run("eval-analyses", golden(), "--html", str(written), "--json").code == 0

    text = written.read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;img src=x&gt;" in text
    assert "extracted text" in text


def test_a_file_that_is_no_review_is_told_before_anything_is_asked(run, here, golden, magpie):
    ran = run("eval-analyses", golden({"items": []}), "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "bad_review")
    assert magpie.requests == []
