"""How every command ends: exit codes, documents, one line instead of a traceback."""

import json
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.target import NOT_RUNNING

ROOT = Path(__file__).resolve().parent.parent.parent
ASKING = (["list"], ["show", "abcdef12"], ["search", "x"], ["add", "x.png"], ["whoami"])


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command[0])
def test_without_a_magpie_there_is_one_line(run, tmp_path, command):
    ran = run(*command, "--data", str(tmp_path))

    assert ran.code == 1
    assert (ran.out, ran.err) == ("", NOT_RUNNING + "\n")


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command[0])
def test_without_a_magpie_there_is_one_document(run, tmp_path, command):
    ran = run(*command, "--data", str(tmp_path), "--json")

    assert ran.code == 1
    assert ran.json == {"error": {"code": "not_running", "message": NOT_RUNNING}}
    assert ran.err == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": -5, "api_url": "x"}'])
def test_a_broken_stack_file_means_that_nothing_runs(run, tmp_path, text):
    (tmp_path / "stack.json").write_text(text)

    assert run("list", "--data", str(tmp_path)).err == NOT_RUNNING + "\n"


def test_what_a_killed_stack_left_means_that_nothing_runs(run, here):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stack = json.loads((here / "stack.json").read_text()) | {"pid": ended.pid}
    (here / "stack.json").write_text(json.dumps(stack))

    assert run("list").err == NOT_RUNNING + "\n"


def test_a_stack_that_does_not_listen_means_that_nothing_runs(run, here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        stack = json.loads((here / "stack.json").read_text())
        run("list")  # signs in while it still can
        (here / "stack.json").write_text(json.dumps(stack | {"api_url": url}))

        assert run("list").err == NOT_RUNNING + "\n"


@pytest.mark.parametrize(
    "command",
    [["add"], ["show"], ["search"], ["list", "--status", "lost"], ["list", "--limit", "0"],
     ["list", "--wrong"], ["lost"], ["up", "--port", "70000"], ["add", "x", "--timeout", "soon"],
     ["search", "  "], ["list", "--data", "x", "--api-url", "https://x"], ["list", "--api-url", "ftp://x"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_exits_2(run, command):
    ran = run(*command)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err
    assert "Traceback" not in ran.err

    as_json = run(*command, "--json")
    assert as_json.code == 2
    assert as_json.json["error"]["code"] == "usage"
    assert as_json.json["error"]["message"]
    assert as_json.err == ""


def test_without_a_command_there_is_help_and_exit_code_2(run):
    ran = run()

    assert (ran.code, ran.out) == (2, "")
    assert "search" in ran.err


@pytest.mark.parametrize(
    "command", ["up", "demo", "add", "list", "show", "search", "doctor", "login", "logout", "whoami", "token"]
)
def test_every_command_explains_itself_and_knows_json(run, command):
    ran = run(command, "--help")

    assert ran.code == 0
    assert "--json" in ran.out


def test_the_version_is_the_projects(run):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    ran = run("--version")

    assert (ran.code, ran.out) == (0, f"magpie {project['version']}\n")


@pytest.mark.parametrize("status", [500, 503, 403, 404, 429])
def test_trouble_of_the_api_is_one_sentence(run, here, magpie, status):
    magpie.trouble += [("GET", "/items", status, {"Retry-After": "0"})] * 7

    ran = run("list")

    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "as the test wanted" in ran.err


@pytest.mark.parametrize("command", [["list"], ["search", "x"], ["add", __file__]], ids=lambda c: c[0])
def test_what_is_not_magpies_api_is_told_so(run, here, magpie, command):
    magpie.trouble += [("GET", "/", 200, {})]

    ran = run(*command, "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "bad_answer"


def test_passing_trouble_is_waited_out(run, here, magpie):
    magpie.trouble += [("GET", "/items", status, {"Retry-After": "0"}) for status in (503, 429, 502, 504)]

    assert run("list", "--json").code == 0


def test_the_reader_of_a_pipe_may_leave(here, magpie, start):
    for number in range(3000):
        magpie.add(f"{number}.png")
    process = start("list", "--all", "--json")

    assert process.stdout.read(1) == "{"
    process.stdout.close()

    assert process.wait(timeout=20) in {0, 1}
    assert process.stderr.read() == ""


def test_output_survives_a_terminal_that_lacks_letters(here, magpie, start):
    magpie.add("café ☕.png")

    text, _ = start("list", PYTHONIOENCODING="ascii").communicate(timeout=20)
    document, _ = start("list", "--json", PYTHONIOENCODING="ascii").communicate(timeout=20)

    assert "caf? ?.png" in text
    assert json.loads(document)["items"][0]["filename"] == "café ☕.png"


def test_files_of_the_current_folder_are_not_imported(here, magpie, start, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    (tmp_path / "cli").mkdir()
    monkeypatch.chdir(tmp_path)

    out, _ = start("list", "--json").communicate(timeout=20)

    assert json.loads(out)["items"] == []


def test_nothing_heavy_is_imported_for_help():
    heavy = {"boto3", "botocore", "moto", "PIL", "numpy", "psycopg", "anthropic", "httpx2", "yaml"}
    program = "import sys, cli.app; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert heavy & set(loaded.stdout.split()) == set()


def test_ctrl_c_in_code_made_of_text_leaves_the_exit_code_alone(tmp_path):
    # Python reads it before anything else.
    (tmp_path / "sitecustomize.py").write_text("""
import cli.app

def main():
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return 130

cli.app.main = main
""")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}

    ended = subprocess.run([sys.executable, "-P", "-m", "cli"], cwd=ROOT, env=environment, timeout=60)

    assert ended.returncode == 130
