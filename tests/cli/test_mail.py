"""`magpie mail`: what was sent here, what one is written about, and who is written to no more."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.target import NOT_RUNNING
from local.runtime import Result
from tests.fakes.local_endpoint import Served, serving

KEY = "fa8001e2cda37fc31dae403fcf9df1488cc05cecf360678193a699eaf4fb94f8"


class EmailEvents:
    """The function that keeps the list, as far as an operator asks it."""

    def __init__(self) -> None:
        self.addresses = {"bounce@example.com": "bounce", "eve@example.com": "complaint"}
        self.asked: list[dict[str, Any]] = []

    def __call__(self, name: str, payload: bytes) -> Result:
        assert name == "magpie-EmailEvents"
        asked = json.loads(payload)
        self.asked.append(asked)
        if asked["action"] == "lift":
            told: dict[str, Any] = {"address_key": KEY, "lifted": asked["address"] in self.addresses}
            self.addresses.pop(asked["address"], None)
        else:
            listed = [
                {"address_key": KEY, "reason": reason, "suppressed_at": "2026-11-20T09:00:00+00:00"}
                for reason in self.addresses.values()
            ]
            told = {
                "addresses": listed[: asked["limit"]],
                "next": None if len(listed) <= asked["limit"] else {},
            }
        return Result(json.dumps(told).encode(), None, "request-1")


@pytest.fixture
def email_events() -> EmailEvents:
    return EmailEvents()


@pytest.fixture
def served(tmp_path: Path, here: Path, email_events: EmailEvents) -> Iterator[Served]:
    """The AWS endpoint of the Magpie that runs on this machine."""
    with serving(tmp_path, email_events) as endpoint:
        stack = json.loads((here / "stack.json").read_text()) | {"aws_url": endpoint.url}
        (here / "stack.json").write_text(json.dumps(stack))
        yield endpoint


class TestList:
    def test_mails_are_listed_the_newest_first_with_what_became_of_them(self, run, served: Served) -> None:
        served.send(subject="Your scan is done")
        served.send("complaint@simulator.amazonses.com", "Your storage is full", region="eu-west-1")
        ran = run("mail", "list")
        assert (ran.code, ran.err) == (0, "")
        head, newest, oldest = ran.out.splitlines()
        assert head.split() == ["ID", "Sent", "To", "Subject", "Region", "Outcome"]
        assert newest.endswith("Your storage is full  eu-west-1  delivered, complained of")
        assert "Your scan is done" in oldest
        assert oldest.endswith("us-east-1  delivered")

    def test_as_json_and_no_more_than_asked_for(self, run, served: Served) -> None:
        ids = [served.send(subject=str(number)) for number in range(3)]
        listed = run("mail", "list", "--limit", "2", "--json").json
        assert [mail["message_id"] for mail in listed["mails"]] == [ids[2], ids[1]]
        assert listed["more"] is True
        assert "1 more: --limit N shows them." in run("mail", "list", "--limit", "2").err

    def test_where_nothing_was_sent_it_says_how_something_would_be(self, run, served: Served) -> None:
        ran = run("mail", "list")
        assert (ran.code, ran.out) == (0, "")
        assert "./magpie mail notify --scans" in ran.err
        assert run("mail", "list", "--json").json == {"mails": [], "more": False}

    def test_a_subject_from_outside_moves_no_cursor(self, run, served: Served) -> None:
        served.send(subject="a\x1b[2Jb[red]c")
        assert "a\N{REPLACEMENT CHARACTER}[2Jb[red]c" in run("mail", "list").out

    def test_the_mail_of_a_deployment_is_not_here(self, run, home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAGPIE_API_URL", "https://abc.execute-api.us-east-1.amazonaws.com")
        ran = run("mail", "list", "--json")
        assert (ran.code, ran.json["error"]["code"]) == (1, "local_only")

    def test_without_a_stack_there_is_one_line(self, run, home, tmp_path: Path) -> None:
        assert run("mail", "list", "--data", str(tmp_path)).err == NOT_RUNNING + "\n"


class TestShow:
    def test_a_mail_is_shown_with_its_text(self, run, served: Served) -> None:
        message_id = served.send(subject="Your scan is done")
        out = run("mail", "show", message_id[:8]).out
        for said in (
            "Your scan is done",
            "Magpie <magpie@magpie.test>",
            "ada@example.com",
            "user_id ada",
            message_id,
        ):
            assert said in out
        assert out.endswith("\n\none\ntwo\n")
        assert run("mail", "show", message_id, "--text").out == "one\ntwo\n"
        assert run("mail", "show", message_id, "--json").json["html"] == "<p>one</p>"

    def test_its_html_goes_into_a_file(self, run, served: Served, tmp_path: Path) -> None:
        message_id = served.send()
        file = tmp_path / "mail.html"
        assert run("mail", "show", message_id, "--html", str(file)).code == 0
        assert file.read_text() == "<p>one</p>"

    def test_what_is_no_mail_is_told(self, run, served: Served) -> None:
        served.send()
        served.send()
        assert run("mail", "show", "zz", "--json").json["error"]["code"] == "not_found"
        assert run("mail", "show", "", "--json").json["error"]["code"] == "not_found"
        same = served.mails.list()[0]["message_id"]
        (served.mails.folder / f"{same}-2.json").write_text(
            (served.mails.folder / f"{same}.json").read_text().replace(same, f"{same}-2")
        )
        assert run("mail", "show", same[:6], "--json").json["error"]["code"] == "ambiguous"
        assert run("mail", "show", same, "--json", "--text").code == 2


class TestNotify:
    @pytest.fixture(autouse=True)
    def account(self, magpie, here) -> dict[str, Any]:
        """The caller's own: `PATCH /me` changes it."""
        me: dict[str, Any] = {
            "user_id": "user-1",
            "email": "demo@magpie.local",
            "notifications": {"scan_complete": False, "quota": False},
            "sends_mail": True,
        }

        def change(request) -> tuple[int, Any]:
            me["notifications"] |= json.loads(request.body)["notifications"]
            return 200, me

        magpie.answers["GET", "/me"] = lambda request: (200, me)
        magpie.answers["PATCH", "/me"] = change
        return me

    def test_it_shows_what_one_is_written_about_and_changes_nothing(self, run, magpie) -> None:
        out = run("mail", "notify").out
        assert "when a run has ended                  no" in out
        assert "demo@magpie.local" in out
        assert not magpie.asked("PATCH", "/me")

    def test_only_what_is_said_is_changed(self, run, magpie, account: dict[str, Any]) -> None:
        assert "when a run has ended                  yes" in run("mail", "notify", "--scans").out
        assert account["notifications"] == {"scan_complete": True, "quota": False}
        run("mail", "notify", "--no-scans", "--quota")
        assert account["notifications"] == {"scan_complete": False, "quota": True}
        bodies = [json.loads(request.body) for request in magpie.asked("PATCH", "/me")]
        assert bodies[0] == {"notifications": {"scan_complete": True}}
        assert run("mail", "notify", "--json").json == {
            "email": "demo@magpie.local",
            "notifications": {"scan_complete": False, "quota": True},
            "sends_mail": True,
        }

    def test_where_no_mail_is_sent_it_says_so(self, run, account: dict[str, Any]) -> None:
        account["sends_mail"] = False
        account["email"] = None
        ran = run("mail", "notify", "--quota")
        assert ran.code == 0
        assert "MailFrom" in ran.err
        assert "this account has no address" in ran.out


class TestSuppressed:
    def test_the_list_shows_keys_and_reasons(self, run, served: Served) -> None:
        ran = run("mail", "suppressed", "list")
        assert ran.code == 0
        assert [line.split()[:2] for line in ran.out.splitlines()[1:]] == [
            [KEY, "bounce"],
            [KEY, "complaint"],
        ]
        assert run("mail", "suppressed", "list", "--limit", "1", "--json").json["more"] is True

    def test_an_empty_list_says_so(self, run, served: Served, email_events: EmailEvents) -> None:
        email_events.addresses.clear()
        assert run("mail", "suppressed", "list").err == "No address is suppressed.\n"

    def test_an_address_is_taken_off_once(self, run, served: Served, email_events: EmailEvents) -> None:
        assert (
            run("mail", "suppressed", "remove", "eve@example.com").out
            == "eve@example.com is written to again.\n"
        )
        assert email_events.addresses == {"bounce@example.com": "bounce"}
        ran = run("mail", "suppressed", "remove", "eve@example.com", "--json")
        assert (ran.code, ran.json["error"]["code"]) == (1, "not_found")
        assert email_events.asked[0] == {"action": "lift", "address": "eve@example.com"}
