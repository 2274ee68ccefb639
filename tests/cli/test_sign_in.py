"""Signing in: by itself on this machine, by `magpie login` elsewhere, kept and renewed."""

import io
import json
import os
import pty
import stat
import sys
import time

import pytest

from cli.tokens import TokenFiles
from tests.cli.conftest import ROOT


@pytest.fixture
def deployment(magpie, home, monkeypatch):
    """The same server, met as a deployment: nothing on this machine knows a password for it."""
    monkeypatch.setenv("MAGPIE_API_URL", magpie.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", magpie.url)
    return magpie


@pytest.fixture
def login(run, monkeypatch):
    def run_login(*arguments, password="correct horse 1"):  # noqa: S107 - the test server's own
        monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
        return run("login", "--email", "demo@magpie.local", "--password-stdin", *arguments)

    return run_login


def auth_flows(magpie):
    return [json.loads(r.body).get("AuthFlow") for r in magpie.requests if "x-amz-target" in r.headers]


def test_on_this_machine_the_sign_in_needs_nobody(run, here, magpie):
    ran = run("whoami", "--json")

    assert ran.code == 0
    assert ran.json["email"] == "demo@magpie.local"
    assert ran.json["sub"] == "user-1"
    assert ran.json["local"] is True


def test_other_programs_get_the_token_and_nothing_else(run, here, magpie):
    ran = run("token")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.strip() in magpie.access
    assert run("token", "--json").json["access_token"] in magpie.access


def test_a_profile_that_does_not_exist_changes_nothing(run, here, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")

    assert run("whoami").code == 0


def test_one_sign_in_serves_many_commands(run, here, magpie):
    for _ in range(3):
        assert run("list").code == 0

    assert auth_flows(magpie) == ["USER_PASSWORD_AUTH"]


@pytest.mark.parametrize("change", [("sign_in", "client_id", "client-2"), ("user", "sub", "user-2")])
def test_another_stack_at_the_same_address_is_signed_in_to_anew(run, here, magpie, change):
    """Even when it would take the other one's token: it has users of its own."""
    part, name, value = change
    run("list")
    stack = json.loads((here / "stack.json").read_text())
    stack[part][name] = value
    (here / "stack.json").write_text(json.dumps(stack))
    magpie.sub = stack["user"]["sub"]

    assert run("list").code == 0
    assert run("list").code == 0
    assert auth_flows(magpie) == ["USER_PASSWORD_AUTH"] * 2


def test_a_token_near_its_end_is_renewed_first(run, here, magpie):
    magpie.lifetime = 30
    run("list")
    run("list")

    assert auth_flows(magpie) == ["USER_PASSWORD_AUTH", "REFRESH_TOKEN_AUTH"]
    assert not [request for request in magpie.asked("GET", "/items") if request.token not in magpie.access]


def test_a_refused_token_is_renewed_and_the_request_repeated(run, here, magpie):
    run("list")
    magpie.access.clear()

    assert run("list").code == 0
    assert auth_flows(magpie) == ["USER_PASSWORD_AUTH", "REFRESH_TOKEN_AUTH"]


def test_an_ended_sign_in_on_this_machine_begins_again_by_itself(run, here, magpie):
    run("list")
    magpie.access.clear()
    magpie.refresh.clear()

    assert run("list").code == 0


def test_an_api_that_refuses_every_token_is_asked_no_third_time(run, here, magpie):
    magpie.trouble += [("GET", "/items", 401, {})] * 4

    ran = run("list", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "signed_out"
    assert len(magpie.asked("GET", "/items")) == 2


def test_a_deployment_wants_a_sign_in_first(run, deployment):
    ran = run("list", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "signed_out"
    assert "./magpie login" in ran.json["error"]["message"]


def test_a_login_is_kept_for_its_owner_only(run, login, deployment, home):
    ran = login("--json")

    assert ran.code == 0
    assert ran.json == {"api_url": deployment.url, "email": "demo@magpie.local", "sub": "user-1"}
    path = TokenFiles().path(deployment.url)
    assert path.is_relative_to(home / "config" / "magpie")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "correct horse" not in path.read_text()
    assert run("list").code == 0
    assert run("whoami", "--json").json["local"] is False


def test_each_api_has_its_own_sign_in(run, login, deployment, monkeypatch):
    login()
    monkeypatch.setenv("MAGPIE_API_URL", deployment.url.replace("127.0.0.1", "localhost"))

    assert run("list", "--json").json["error"]["code"] == "signed_out"


def test_a_wrong_password_is_one_sentence(login, deployment, home):
    ran = login(password="wrong")

    assert ran.code == 1
    assert ran.err == "The sign-in was refused: Incorrect username or password.\n"
    assert not (home / "config" / "magpie" / "tokens").exists()


def test_a_temporary_password_cannot_be_used_without_a_terminal(login, deployment):
    deployment.temporary = True

    ran = login("--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "new_password_required"


def test_an_ended_sign_in_at_a_deployment_asks_for_a_login(run, login, deployment):
    login()
    deployment.access.clear()
    deployment.refresh.clear()

    assert run("list", "--json").json["error"]["code"] == "signed_out"


def test_a_logout_ends_the_sign_in_there_and_here(run, login, deployment):
    login()

    ran = run("logout", "--json")

    assert ran.json == {"api_url": deployment.url, "signed_out": True, "revoked": True}
    assert deployment.refresh == set()
    assert run("list", "--json").json["error"]["code"] == "signed_out"
    assert run("logout", "--json").json["signed_out"] is False


def test_a_logout_on_this_machine_ends_the_sign_in_there_too(run, here, magpie):
    run("list")
    assert len(magpie.refresh) == 1

    assert run("logout", "--json").json["revoked"] is True
    assert magpie.refresh == set()


def test_a_suspended_user_is_told_so(login, deployment):
    deployment.refusal = "This account is suspended, please ask whoever runs this service"

    ran = login()

    assert ran.code == 1
    assert ran.err == (
        "The sign-in was refused: This account is suspended, please ask whoever runs this service.\n"
    )


def test_a_renewal_that_is_refused_ends_the_sign_in(run, login, deployment):
    deployment.lifetime = 30
    login()
    deployment.refusal = "This account is suspended"

    assert run("list", "--json").json["error"]["code"] == "signed_out"


def test_a_second_factor_cannot_be_given_without_a_terminal(login, deployment):
    deployment.code = "123456"

    assert login("--json").json["error"]["code"] == "code_required"


def test_commands_at_the_same_time_renew_once(login, deployment, start):
    """Where a renewal ends the older refresh token, two of them would end the sign-in."""
    deployment.lifetime, deployment.rotates = 30, True
    login()
    deployment.lifetime = 3600
    variables = {"MAGPIE_API_URL": deployment.url, "AWS_ENDPOINT_URL": deployment.url}

    processes = [start("list", "--json", **variables) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, "items" in out) == (0, True), err

    assert auth_flows(deployment) == ["USER_PASSWORD_AUTH", "REFRESH_TOKEN_AUTH"]
    assert len(deployment.refresh) == 1


class Terminal:
    """A command on a terminal of its own, which somebody watches and types at."""

    def __init__(self, *arguments):
        command = [sys.executable, "-P", "-m", "cli", *arguments]
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.environ["PYTHONPATH"] = str(ROOT)
            os.execv(sys.executable, command)  # noqa: S606 - the interpreter itself
        self.seen = ""

    def answer(self, question, text):
        deadline = time.monotonic() + 60
        while question not in self.seen:
            piece = self._read()
            assert piece, f"it has ended: {self.seen}"
            assert time.monotonic() < deadline, self.seen
            self.seen += piece
        self.seen = self.seen.split(question, 1)[1]
        os.write(self.end, f"{text}\n".encode())

    def finish(self):
        while piece := self._read():
            self.seen += piece
        os.close(self.end)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self):
        try:
            return os.read(self.end, 4096).decode()
        except OSError:  # what Linux says when the other side is gone
            return ""


def test_a_person_changes_a_temporary_password_and_gives_the_code_of_their_authenticator(run, deployment):
    deployment.temporary, deployment.code = True, "123456"
    terminal = Terminal("login")

    terminal.answer("E-mail: ", "demo@magpie.local")
    terminal.answer("Password: ", deployment.password)
    terminal.answer("New password: ", "my own word 22")
    terminal.answer("Repeat for confirmation: ", "my own word 22")
    terminal.answer("Code of your authenticator: ", "000000")
    terminal.answer("Code of your authenticator: ", "123 456")

    assert terminal.finish() == 0, terminal.seen
    assert "my own word" not in terminal.seen
    assert deployment.password == "my own word 22"
    assert run("list").code == 0


def test_a_damaged_token_file_means_signed_out(run, login, deployment):
    login()
    path = TokenFiles().path(deployment.url)
    for text in ("", "[]", "{}", '{"api_url": 1}', path.read_text().replace("127.0.0.1", "127.0.0.2")):
        path.write_text(text)
        assert run("list", "--json").json["error"]["code"] == "signed_out"


def test_a_home_that_cannot_be_written_costs_a_sign_in_and_not_the_command(
    run, here, magpie, home, monkeypatch
):
    (home / "config").write_text("a file where a folder should be")

    assert run("list").code == 0
    assert run("list").code == 0
    assert auth_flows(magpie) == ["USER_PASSWORD_AUTH"] * 2


@pytest.mark.parametrize(
    "address", ["http://magpie.example", "https://", "https://user@magpie.example", "x", "https://h:0"]
)
def test_tokens_are_never_sent_in_the_clear_nor_to_nonsense(run, home, monkeypatch, address):
    monkeypatch.setenv("MAGPIE_API_URL", address)

    assert run("list").code == 2


def test_a_data_folder_on_the_command_line_wins_over_the_environment(run, here, magpie, monkeypatch):
    monkeypatch.setenv("MAGPIE_API_URL", "https://magpie.invalid")

    assert run("whoami", "--data", str(here), "--json").json["local"] is True


def test_the_address_of_the_magpie_that_runs_here_needs_no_login(run, here, magpie, monkeypatch):
    monkeypatch.setenv("MAGPIE_API_URL", magpie.url + "/")

    assert run("whoami", "--json").json["local"] is True


def test_nothing_is_asked_where_nobody_can_answer(run, deployment, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    ran = run("login", "--email", "demo@magpie.local")

    assert ran.code == 2
    assert "--password-stdin" in ran.err
