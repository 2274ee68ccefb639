"""`magpie list`, `show` and `search`."""

import pytest


def test_the_newest_come_first(run, here, magpie):
    for number in range(30):
        magpie.add(f"{number:02}.png")

    ran = run("list", "--json")

    assert ran.code == 0
    assert [item["filename"] for item in ran.json["items"]] == [f"{n:02}.png" for n in range(29, 9, -1)]
    assert ran.json["next_cursor"]


def test_all_pages_are_read_when_all_are_wanted(run, here, magpie):
    magpie.page = 10
    for number in range(35):
        magpie.add(f"{number:02}.png")

    assert len(run("list", "--all", "--json").json["items"]) == 35
    assert len(run("list", "--limit", "25", "--json").json["items"]) == 25


def test_items_of_one_status_are_listed(run, here, magpie):
    magpie.add("good.png")
    magpie.add("bad.png", "rejected")

    assert [i["filename"] for i in run("list", "--status", "rejected", "--json").json["items"]] == ["bad.png"]


def test_an_empty_list_is_a_document_too(run, here):
    assert run("list", "--json").json == {"items": [], "next_cursor": None}
    assert run("list").out == ""


def test_a_pipe_gets_whole_lines_without_colour(run, here, magpie):
    name = "a-very-long-name-" * 12 + ".png"
    magpie.add(name)

    ran = run("list")

    assert name in ran.out
    assert "\x1b" not in ran.out
    assert all(line == line.rstrip() for line in ran.out.splitlines())


@pytest.mark.parametrize("columns", ["40", "60", "80", "120"])
def test_lines_fit_the_terminal(run, here, magpie, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    magpie.add("a-rather-long-name-of-a-file.png")

    for command in (["list"], ["search", "rather"], ["doctor"]):
        ran = run(*command)
        assert ran.code == 0
        assert max(map(len, ran.out.splitlines())) <= int(columns), command


def test_short_ids_of_a_list_lead_to_their_items(run, here, magpie):
    for number in range(5):
        magpie.add(f"{number}.png", item_id=f"01939c2f-71b0-7000-8000-00000000000{number}")

    ids = [line.split()[0] for line in run("list").out.splitlines()[1:]]

    assert len(set(ids)) == 5
    for item_id in ids:
        assert run("show", item_id, "--json").json["item_id"] == item_id


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(run, here, magpie):
    item = magpie.add("a.png", item_id="abcdef12-3456-4000-8000-000000000001")
    magpie.add("b.png", item_id="abcdef12-9999-4000-8000-000000000002")

    assert run("show", "ABCDEF12-34", "--json").json["filename"] == item["filename"]
    ran = run("show", "abcdef", "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == "ambiguous"


@pytest.mark.parametrize("item_id", ["abc", "zzzzzz", "../items", "", "a b c d e f"])
def test_what_is_no_id_is_wrong_usage(run, here, magpie, item_id):
    assert run("show", item_id).code == 2
    assert magpie.requests == []


def test_an_unknown_item_is_not_found(run, here, magpie):
    for item_id in ("abcdef12", "abcdef12-3456-4000-8000-000000000001"):
        ran = run("show", item_id, "--json")
        assert ran.code == 1
        assert ran.json["error"]["code"].endswith("not_found")


def test_show_tells_everything(run, here, magpie):
    item = magpie.add("coffee.png")

    ran = run("show", item["item_id"])

    assert ran.code == 0
    for part in ("coffee.png", "ready", item["item_id"], "640 × 480", "12 kB", "#aa3300 50%", "It is small.",
                 "a dot", "image_processor", "312 ms", f"{magpie.url}/media/image?secret=1"):  # fmt: skip
        assert part in ran.out


def test_the_addresses_of_views_are_never_broken(run, here, magpie, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    item = magpie.add("coffee.png")

    assert f"{magpie.url}/media/image?secret=1" in run("show", item["item_id"]).out


def test_show_tells_why_an_item_was_rejected(run, here, magpie):
    item = magpie.add("bad.png", "rejected")

    ran = run("show", item["item_id"])

    assert ran.code == 0
    assert "not_an_image: These bytes are not those of a picture." in ran.out


def test_words_of_a_search_are_one_question(run, here, magpie):
    magpie.add("coffee.png")

    ran = run("search", "hot", "coffee", "--limit", "3", "--json")

    assert ran.code == 0
    assert ran.json["query"] == "hot coffee"
    assert [hit["filename"] for hit in ran.json["hits"]] == ["coffee.png"]
    assert magpie.asked("GET", "/search")[0].query == {"q": "hot coffee", "limit": "3"}


def test_hits_are_shown_with_how_they_were_found(run, here, magpie):
    magpie.add("coffee.png")

    head, line = run("search", "coffee").out.splitlines()

    assert head.split() == ["#", "Score", "Words", "Meaning", "Item", "Name", "Headline"]
    assert line.split()[:4] == ["1", "0.50", "0.50", "–"]


def test_nothing_found_is_no_failure(run, here):
    ran = run("search", "nothing")

    assert (ran.code, ran.out) == (0, "")
    assert "Nothing was found." in ran.err
    assert run("search", "nothing", "--json").json["hits"] == []
