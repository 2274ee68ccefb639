"""What somebody does on the page, from signing in to leaving for good."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Route, expect

from tests.browser.visit import READY, Visit
from tests.flow.people import Person
from tests.local.running import Running

Visiting = Callable[..., Visit]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
HOSTILE = "<img src=x onerror=\"alert('ran')\">"


def test_signing_in_takes_one_click_and_outlives_a_reload(visit: Visiting, somebody: Person) -> None:
    tab = visit(somebody)
    expect(tab.page.get_by_role("heading", name="Add your first pictures")).to_be_visible()
    assert tab.page.url == f"{tab.url}/"  # the code is not left in the address
    tab.page.reload()
    expect(tab.page.get_by_role("heading", name="Add your first pictures")).to_be_visible()


def test_uploads_become_ready_before_one_s_eyes(visit: Visiting, somebody: Person, photos: Path) -> None:
    tab = visit(somebody)
    tab.page.locator("#files").set_input_files([photos / "chelsea.png", photos / "rocket.jpg"])
    expect(tab.page.get_by_role("complementary", name="Uploads")).to_contain_text("2 pictures uploaded")
    expect(tab.page.locator(READY)).to_have_count(2)
    for name in ("Warm photograph", "Cool, dark photograph"):
        expect(tab.card(name)).to_be_visible()
    expect(tab.page.get_by_role("complementary", name="Uploads")).to_be_hidden()
    assert tab.page.evaluate("sessionStorage['magpie.uploads']") == "[]"


def test_what_is_no_picture_is_left_out_or_says_why_it_cannot_be_used(
    visit: Visiting, somebody: Person, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "broken.png").write_bytes(b"no picture at all")
    tab = visit(somebody)
    tab.page.locator("#files").set_input_files([tmp_path / "notes.txt", tmp_path / "broken.png"])
    expect(tab.page.get_by_role("status").filter(has_text="Left out")).to_be_visible()
    expect(tab.cards()).to_have_count(1)
    expect(tab.card("broken.png")).to_contain_text("Cannot be used")
    tab.card("broken.png").click()
    expect(tab.page.get_by_role("dialog").locator(".notice")).to_contain_text("Cannot be used:")


def test_an_interrupted_upload_goes_on_as_the_same_item(
    visit: Visiting, somebody: Person, photos: Path
) -> None:
    tab = visit(somebody)
    tab.expected = ("net::ERR_FAILED",)
    tab.page.route(re.compile("uploadsbucket"), lambda route: route.abort())
    with tab.page.expect_response(lambda answer: answer.url.endswith("/items")) as begun:
        tab.page.locator("#files").set_input_files(photos / "coffee.png")
    item_id = begun.value.json()["item_id"]
    tab.page.reload()
    tab.page.unroute_all(behavior="ignoreErrors")
    assert tab.warnings == 1
    expect(tab.page.get_by_text("Interrupted: 1 upload (coffee.png)")).to_be_visible()
    tab.page.locator("#files").set_input_files(photos / "coffee.png")
    expect(tab.page.locator(READY)).to_have_count(1)
    (item,) = somebody.get("/items")["items"]
    assert item["item_id"] == item_id


def test_a_search_finds_and_marks_the_words(visit: Visiting, anna: Person) -> None:
    tab = visit(anna)
    tab.search("dark")
    expect(tab.page.get_by_text("By words and by meaning.")).to_be_visible()
    expect(tab.cards().first).to_contain_text("Cool, dark photograph")
    expect(tab.cards().first.locator("mark").first).to_have_text("dark")
    asked = next(request for request in tab.requests if request.url.endswith("/search"))
    assert asked.method == "POST", "what is looked for would stand in every log of addresses"
    tab.page.go_back()
    expect(tab.page.get_by_role("heading", name="Pictures")).to_be_visible()


def test_filters_and_orders_are_in_the_address(visit: Visiting, anna: Person) -> None:
    tab = visit(anna)
    expect(tab.cards()).to_have_count(3)
    tab.page.get_by_label("State").select_option("Cannot be used")
    expect(tab.page.get_by_role("heading", name="Nothing found")).to_be_visible()
    assert tab.page.url.endswith("#/?status=rejected")
    tab.page.get_by_role("link", name="All pictures", exact=True).click()
    expect(tab.cards()).to_have_count(3)  # or the order would be chosen in the filters that are going away
    tab.page.get_by_label("Order").select_option("By name")
    expect(tab.cards().first).to_contain_text("brown")  # chelsea.png
    tab.page.get_by_label("Category").select_option("Photograph (3)")
    assert tab.page.url.endswith("#/?category=Photograph&sort=name")
    expect(tab.cards()).to_have_count(3)


def test_a_correction_is_shown_found_and_taken_back(visit: Visiting, anna: Person) -> None:
    tab = visit(anna)
    dialog = tab.open("Cool, dark photograph")
    dialog.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Headline").fill("A falcon on its pad")
    dialog.get_by_label("Tags").fill("space, launch")
    dialog.get_by_label("File name").fill("falcon.jpg")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("heading", name="A falcon on its pad")).to_be_visible()
    expect(dialog.get_by_text("Corrected by you.")).to_be_visible()
    expect(dialog.get_by_text("falcon.jpg")).to_be_visible()
    tab.page.keyboard.press("Escape")
    expect(tab.card("A falcon on its pad")).to_be_focused()
    tab.search("launch of a falcon")
    dialog = tab.open("A falcon on its pad")
    dialog.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Headline").fill("")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("heading", name="Cool, dark photograph")).to_be_visible()


def test_a_picture_shows_what_happened_to_it_and_what_is_like_it(visit: Visiting, anna: Person) -> None:
    tab = visit(anna)
    dialog = tab.open("Warm photograph in orange")
    expect(dialog.get_by_role("list", name="Similar pictures").get_by_role("link").first).to_be_visible()
    dialog.get_by_text("Timeline").click()
    expect(dialog.get_by_text("Can be found")).to_be_visible()
    dialog.get_by_role("button", name="Describe again").click()
    expect(tab.page.get_by_text("Every description is kept.")).to_be_visible()
    dialog.get_by_text("Descriptions", exact=True).click()
    expect(dialog.get_by_text(re.compile(r"^1\. "))).to_be_visible()
    with tab.page.expect_download() as downloaded:
        dialog.get_by_role("link", name="Download").click()
    assert downloaded.value.suggested_filename == "coffee.png"


def test_deleting_asks_first(visit: Visiting, somebody: Person, photos: Path) -> None:
    item_id = somebody.upload(photos / "coffee.png")
    somebody.wait(item_id, "ready")
    tab = visit(somebody)
    tab.open("Warm photograph").get_by_role("button", name="Delete").click()
    tab.page.get_by_role("dialog", name="Delete this picture?").get_by_role("button", name="Cancel").click()
    tab.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    question = tab.page.get_by_role("dialog", name="Delete this picture?")
    question.get_by_role("button", name="Delete").click()
    expect(tab.page.get_by_role("heading", name="Add your first pictures")).to_be_visible()
    assert somebody.ask("GET", f"/items/{item_id}").status == 404


def test_of_the_same_file_the_oldest_can_be_kept(visit: Visiting, somebody: Person, photos: Path) -> None:
    oldest, copy = (somebody.upload(photos / "coffee.png") for _ in range(2))
    for item_id in (oldest, copy):
        somebody.wait(item_id, "ready")
    tab = visit(somebody)
    tab.page.get_by_role("link", name="Duplicates").click()
    expect(tab.page.get_by_role("heading", name="The same file: 2 pictures")).to_be_visible()
    tab.page.get_by_role("button", name="Keep the oldest").click()
    tab.page.get_by_role("dialog", name="Delete 1 copy?").get_by_role("button", name="Delete").click()
    expect(tab.page.get_by_text("Deleted.")).to_be_visible()
    assert [item["item_id"] for item in somebody.get("/items")["items"]] == [oldest]


def test_hostile_names_and_words_are_text_and_run_nothing(
    visit: Visiting, somebody: Person, photos: Path
) -> None:
    item_id = somebody.upload((photos / "coffee.png").read_bytes(), f"{HOSTILE}.png", "image/png")
    somebody.wait(item_id, "ready")
    words = {
        "headline": HOSTILE,
        "summary": HOSTILE,
        "category": HOSTILE,
        "tags": [HOSTILE, "javascript:alert(1)"],
    }
    assert somebody.ask("PATCH", f"/items/{item_id}", words).status == 200
    tab = visit(somebody)
    dialog = tab.open(HOSTILE)
    expect(dialog.get_by_role("heading", name=HOSTILE)).to_be_visible()
    expect(dialog.get_by_text(f"{HOSTILE}.png", exact=True)).to_be_visible()
    dialog.get_by_role("link", name=HOSTILE).first.click()  # the category
    expect(tab.page.get_by_label("Category")).to_have_value(HOSTILE)
    expect(tab.card(HOSTILE)).to_be_visible()
    tab.search(f"onerror {HOSTILE}")
    expect(tab.card(HOSTILE).locator("mark").first).to_be_visible()
    tab.open(HOSTILE).get_by_role("button", name="Delete").click()
    expect(tab.page.get_by_role("dialog", name="Delete this picture?")).to_contain_text(HOSTILE)
    assert tab.page.locator("img[src='x']").count() == 0


def test_the_keyboard_alone_is_enough(visit: Visiting, anna: Person) -> None:
    tab = visit(anna)
    expect(tab.cards()).to_have_count(3)
    press = tab.page.keyboard.press
    for _ in range(20):
        press("Tab")
        if tab.page.evaluate("document.activeElement.className") == "card":
            break
    expect(tab.cards().nth(0)).to_be_focused()
    press("ArrowRight")
    expect(tab.cards().nth(1)).to_be_focused()
    press("End")
    expect(tab.cards().nth(2)).to_be_focused()
    press("Home")
    press("Enter")
    dialog = tab.page.get_by_role("dialog")
    first = tab.cards().nth(0).locator(".title").text_content() or ""
    expect(dialog.get_by_role("heading", name=first)).to_be_visible()
    press("ArrowRight")
    second = tab.cards().nth(1).locator(".title").text_content() or ""
    expect(dialog.get_by_role("heading", name=second)).to_be_visible()
    press("Escape")
    expect(dialog).to_be_hidden()
    expect(tab.cards().nth(1)).to_be_focused()
    press("Tab")  # one stop for all cards
    assert tab.page.evaluate("document.activeElement.className") != "card"
    press("/")
    expect(tab.page.get_by_role("searchbox")).to_be_focused()


def test_problems_are_told_with_the_reference_to_quote(visit: Visiting, anna: Person) -> None:
    tab = visit(anna)
    tab.expected = ("the server responded with a status of 500",)
    problem = {
        "type": "urn:problem-type:magpie:internal-error",
        "title": "Something went wrong on our side",
        "status": 500,
        "detail": f"It has been written down. {HOSTILE}",
        "correlation_id": "JKJaXmPLvHcESHA=",
    }

    def fail(route: Route) -> None:
        route.fulfill(status=500, content_type="application/problem+json", body=json.dumps(problem))

    tab.page.route("**/usage", fail)
    tab.page.get_by_role("link", name="Usage").click()
    alert = tab.page.get_by_role("alert")
    for text in ("Something went wrong on our side", HOSTILE, "JKJaXmPLvHcESHA="):
        expect(alert).to_contain_text(text)
    expect(alert.get_by_role("button", name="Copy")).to_be_visible()


def test_what_does_not_fit_into_the_plan_says_so_and_is_not_tried_again(
    visit: Visiting, somebody: Person, system: Running, photos: Path
) -> None:
    tab = visit(somebody)
    tab.expected = ("the server responded with a status of 429",)
    limits = "UPDATE user_profiles SET usage_limits = usage_limits || '{\"items\": 1}' WHERE email = %s"
    with psycopg.connect(system.info["database_url"], autocommit=True) as database:
        assert database.execute(limits, (somebody.email,)).rowcount == 1
    tab.page.locator("#files").set_input_files([photos / "chelsea.png", photos / "rocket.jpg"])
    uploads = tab.page.get_by_role("complementary", name="Uploads")
    expect(uploads).to_contain_text("1 picture uploaded, 1 not")
    expect(uploads).to_contain_text("You have 1 of 1 items, and one more does not fit.")
    assert len([each for each in tab.requests if each.url.endswith("/items") and each.method == "POST"]) == 2
    alert = tab.page.get_by_role("alert")
    expect(alert).to_contain_text("There is no room left for that")
    alert.get_by_role("link", name="See what is used").click()
    expect(tab.page.get_by_role("progressbar", name="Pictures: share of the limit")).to_have_class("full")


def test_a_moment_s_failure_is_not_even_seen(visit: Visiting, anna: Person) -> None:
    tab = visit(anna)
    tab.expected = ("the server responded with a status of 503",)
    failures = iter((503, 503))

    def fail_twice(route: Route) -> None:
        status = next(failures, None)
        if status is None:
            route.continue_()
        else:
            route.fulfill(
                status=status, headers={"Retry-After": "0"}, json={"message": "Service Unavailable"}
            )

    tab.page.route("**/search", fail_twice)
    tab.search("dark")
    expect(tab.cards().first).to_contain_text("dark")
    expect(tab.page.get_by_role("alert")).to_have_count(0)


def test_a_token_that_ran_out_is_renewed_by_itself(visit: Visiting, anna: Person) -> None:
    tab = visit(anna)
    expect(tab.cards()).to_have_count(3)
    before = tab.page.evaluate(
        """() => {
            const tokens = JSON.parse(sessionStorage['magpie.tokens']);
            sessionStorage['magpie.tokens'] = JSON.stringify({...tokens, until: 0});
            return tokens.access_token;
        }"""
    )
    tab.page.get_by_role("link", name="Usage").click()
    expect(tab.page.get_by_role("heading", name="Stored now")).to_be_visible()
    after = tab.page.evaluate("JSON.parse(sessionStorage['magpie.tokens'])")
    assert after["access_token"] != before
    assert after["refresh_token"]
    renewals = [request for request in tab.requests if request.url.endswith("/oauth2/token")]
    assert len(renewals) == 2, "one for the sign-in, and one for all that waited for the renewal"


def test_a_sign_in_that_was_not_begun_here_is_refused(visit: Visiting) -> None:
    tab = visit(path="/?code=somebody-elses&state=guessed")
    expect(tab.page.get_by_role("alert")).to_contain_text("It was not begun in this tab.")
    expect(tab.page.get_by_role("button", name="Sign in")).to_be_visible()
    assert tab.page.url == f"{tab.url}/"
    assert not any(request.url.endswith("/oauth2/token") for request in tab.requests)


def test_signing_out_leaves_nothing_behind(visit: Visiting, somebody: Person) -> None:
    tab = visit(somebody)
    refresh_token = tab.page.evaluate("JSON.parse(sessionStorage['magpie.tokens']).refresh_token")
    client_id = somebody.system.info["sign_in"]["client_id"]
    tab.page.get_by_role("link", name="Account").click()
    expect(tab.page.get_by_text(somebody.email, exact=True)).to_be_visible()
    tab.page.get_by_role("button", name="Sign out").click()
    expect(tab.page.get_by_role("button", name="Sign in")).to_be_visible()
    assert tab.page.evaluate("sessionStorage.length + localStorage.length + document.cookie.length") == 0
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": refresh_token}
    answer = somebody.system.http.request(
        "POST", f"{somebody.system.aws_url}/sign-in/oauth2/token", fields=form, encode_multipart=False
    )
    assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")


def test_everything_can_be_taken_along_and_deleted(visit: Visiting, somebody: Person, photos: Path) -> None:
    somebody.wait(somebody.upload(photos / "coffee.png"), "ready")
    tab = visit(somebody)
    tab.page.get_by_role("link", name="Account").click()
    failed = {"status": "failed", "error": "It came to nothing.", "url": None, "bytes": None}
    tab.page.route("**/export", lambda route: route.fulfill(json=failed), times=1)
    tab.page.get_by_role("button", name="Make a copy").click()
    expect(tab.page.get_by_text("It came to nothing.")).to_be_visible()
    tab.page.get_by_role("button", name="Try again").click()
    with tab.page.expect_download() as downloaded:
        tab.page.get_by_role("link", name=re.compile("^Download")).click()
    assert re.fullmatch(r"magpie-export-[\d-]+\.ndjson\.gz", downloaded.value.suggested_filename)
    tab.page.get_by_role("button", name="Delete everything").click()
    question = tab.page.get_by_role("dialog", name="Delete everything?")
    expect(question.get_by_role("button", name="Delete everything")).to_be_disabled()
    question.get_by_label("Type delete everything to go on").fill("delete everything")
    question.get_by_role("button", name="Delete everything").click()
    expect(tab.page.get_by_role("heading", name="Everything is deleted")).to_be_visible()
    expect(tab.page.get_by_text("Receipt")).to_be_visible()
    assert tab.page.evaluate("sessionStorage['magpie.tokens']") is None


def test_what_one_is_written_about_is_so_as_soon_as_it_is_said(visit: Visiting, somebody: Person) -> None:
    tab = visit(somebody)
    tab.page.evaluate("location.hash = '#/account'")
    box = tab.page.get_by_role("checkbox", name="When a scan or another run of mine has ended")
    expect(box).not_to_be_checked()
    with tab.page.expect_response(lambda answer: answer.request.method == "PATCH"):
        box.check()
    tab.page.reload()
    expect(box).to_be_checked()
    assert somebody.get("/me")["notifications"] == {"scan_complete": True, "quota": False}


PAGES = {
    "pictures": "#/",
    "found": "#/?q=warm",
    "picture": None,
    "duplicates": "#/duplicates",
    "usage": "#/usage",
    "account": "#/account",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(visit: Visiting, anna: Person, scheme: str) -> None:
    """Contrast of texts (WCAG 1.4.3), names of controls (4.1.2), nothing wider than the screen or moving."""
    tab = visit(anna, color_scheme=scheme, reduced_motion="reduce", **PHONE)
    checks = (Path(__file__).parent / "readable.js").read_text()
    for name, address in PAGES.items():
        for width in (390, 320):
            tab.page.set_viewport_size({"width": width, "height": 844})
            if address is None:
                tab.page.evaluate("location.hash = '#/'")
                tab.open("Warm photograph").get_by_role("button", name="Edit").click()
            else:
                tab.page.evaluate(f"location.hash = {address!r}")
            expect(
                tab.page.get_by_text(re.compile("^(Loading|Looking)…")).filter(visible=True)
            ).to_have_count(0)
            assert tab.page.evaluate(checks, width) == [], f"{name}, {width} wide"
            if address is None:
                tab.page.keyboard.press("Escape")
                tab.page.keyboard.press("Escape")
