"""What modules may import, and that nothing happens when they are imported."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import sources
from tests.contract.conftest import ROOT


def test_shared_never_imports_functions() -> None:
    for path in sources.modules("shared"):
        reached = {name for name in sources.imports(path) if name.split(".")[0] == "functions"}
        assert reached == set(), f"{path.name} imports a function"


@pytest.mark.parametrize("function", sources.functions())
def test_functions_never_import_each_other(function: str) -> None:
    for path in sources.modules(f"functions.{function}"):
        others = {
            name
            for name in sources.imports(path)
            if name.split(".")[0] == "functions" and name.split(".")[1:2] != [function]
        }
        assert others == set(), f"{path.name} imports another function"


@pytest.mark.parametrize("function", sources.functions())
def test_what_is_deployed_imports_nothing_that_stays_here(function: str) -> None:
    here = {"local", "cli", "tests", "events", "moto", "pytest", "samcli"}
    for path in sources.closure(function):
        assert not {name.split(".")[0] for name in sources.imports(path)} & here, path


def test_modules_are_named_for_what_they_decide() -> None:
    empty_words = {"utils", "util", "helpers", "helper", "service", "services", "common", "misc", "base"}
    paths = [path for package in ("shared", "functions") for path in sources.modules(package)]
    assert [path for path in paths if path.stem in empty_words] == []


@pytest.mark.parametrize("function", sources.functions())
def test_the_logger_is_the_only_object_made_in_a_handlers_module(function: str) -> None:
    """But for what only declares: a pattern, a type, the routes."""
    made = set()
    for node in sources.tree(ROOT / "functions" / function / "handler.py").body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            made.add(ast.unparse(node.value.func))
    assert "Logger" in made
    assert made <= {"Logger", "re.compile", "frozenset", "APIGatewayHttpResolver"}


WATCHER = """
import json, os, sys
root = sys.argv[1]
touched = []

def ours():
    frame = sys._getframe(2)
    while frame and frame.f_globals["__name__"] in ("os", "collections.abc", "_collections_abc"):
        frame = frame.f_back
    name = frame.f_code.co_filename if frame else ""
    return name.startswith((root + "/functions", root + "/shared"))

read = os._Environ.__getitem__
def watched(self, key):
    if ours():
        touched.append("environment " + key)
    return read(self, key)
os._Environ.__getitem__ = watched

def audit(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "subprocess.", "os.system", "os.fork")):
        touched.append(event)
    if event == "open" and isinstance(arguments[0], str):
        path = os.path.abspath(arguments[0])
        writes = isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if path.startswith((root + "/functions", root + "/shared")) and not path.endswith((".py", ".pyc")):
            touched.append("file " + path)
        elif writes and not path.endswith(".pyc") and "__pycache__" not in path:
            touched.append("writing " + path)
sys.addaudithook(audit)

for module in sys.argv[2].split(","):
    __import__(module)
import threading
if threading.active_count() > 1:
    touched.append("a thread")
if "boto3" in sys.modules and sys.modules["boto3"].DEFAULT_SESSION is not None:
    touched.append("a session of boto3")
print(json.dumps(touched))
"""


def handlers_and_shared() -> list[str]:
    shared = ",".join(f"shared.{path.stem}" for path in sources.modules("shared"))
    # What the API's handler leaves for later.
    routes = ",".join(f"functions.api.routes.{path.stem}" for path in sources.modules("functions.api.routes"))
    return [f"functions.{function}.handler" for function in sources.functions()] + [routes, shared]


def watched(root: Path, modules: str) -> list[str]:
    """What importing some modules does besides. Not even the environment is there: no variable of the
    template, no region, no credentials."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, str(root), modules],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("modules", handlers_and_shared(), ids=lambda modules: modules.split(",")[0])
def test_nothing_happens_at_import(modules: str) -> None:
    assert watched(ROOT, modules) == []


def test_what_happens_at_import_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "prompt.md").write_text("")
    (tmp_path / "functions" / "busy.py").write_text(
        "import os, pathlib, socket\n"
        "bucket = os.environ.get('BUCKET')\n"
        "prompt = pathlib.Path(__file__).with_name('prompt.md').read_text()\n"
        "socket.socket(socket.AF_UNIX).connect_ex('/nowhere')\n"
    )
    seen = watched(tmp_path, "functions.busy")
    assert seen == ["environment BUCKET", f"file {tmp_path}/functions/prompt.md", "socket.connect"]


def test_no_clock_and_no_client_at_module_level() -> None:
    forbidden = (
        "time.",
        "datetime.now",
        "boto3.",
        "clients.",
        "os.environ",
        "os.getenv",
        "uuid",
        "random.",
        "open",
    )
    checked = 0
    for path in [*sources.modules("shared"), *sources.modules("functions")]:
        for call in module_level_calls(path):
            checked += 1
            assert not call.startswith(forbidden), f"{path.relative_to(ROOT)} calls {call} at import"
    assert checked > 10


def module_level_calls(path: Path) -> list[str]:
    """Calls that importing a file makes: everything outside functions, class bodies included."""
    calls: list[str] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.Call):
                calls.append(ast.unparse(child.func))
            visit(child)

    visit(sources.tree(path))
    return calls
