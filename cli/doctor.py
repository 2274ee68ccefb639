"""`magpie doctor`: whether this machine can run Magpie, what is wrong, and how to mend it."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cli.errors import CommandError
from cli.options import ApiUrl, Data, Json

if TYPE_CHECKING:
    from cli.output import Output

OLDEST_PYTHON = (3, 11)
GB = 1_000_000_000
MEMORY_WANTED, MEMORY_NEEDED = 2 * GB, 1 * GB
"""The whole stack stays under 2 GB; with half of it, it starts."""
DISK_WANTED, DISK_NEEDED = 2 * GB, GB // 2

Verdict = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Check:
    """What one look at this machine found.

    Attributes:
        status: `wrong` keeps Magpie from working here; `warning` may.
        remedy: what to do about it; empty where nothing is to be done.
    """

    name: str
    status: Verdict
    finding: str
    remedy: str = ""


def doctor(json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Check what Magpie needs on this machine, and say how to mend what is wrong.

    Exits 1 when something is.
    """
    from cli.output import Output
    from cli.target import data_folder, running_stack

    out = Output(json)
    folder = data_folder(data)
    stack = running_stack(folder)
    looks: list[Callable[[], Iterator[Check]]] = [
        _python,
        _memory,
        lambda: _disk(folder),
        lambda: _ports(stack),
        lambda: _database(running=stack is not None),
        _template,
        _models,
        lambda: _stack(stack, folder),
    ]
    address = api_url or os.environ.get("MAGPIE_API_URL")
    if address:
        looks.append(lambda: _deployment(address))
    checks = []
    for look in looks:
        for check in look():
            checks.append(check)
            if not json:
                _show(out, check)
    wrong = sum(check.status == "wrong" for check in checks)
    if json:
        out.document({"ok": not wrong, "checks": [asdict(check) for check in checks]})
    else:
        _conclude(out, wrong)
    return 1 if wrong else 0


def _show(out: "Output", check: Check) -> None:
    from cli.output import STATUS_STYLES, styled

    line = styled(f"{check.status:8}", STATUS_STYLES[check.status])
    line.append_text(styled(f"{check.name:12}  {check.finding}"))
    out.show(line)
    if check.remedy:
        out.show(styled(f"{'':22}{check.remedy}", "bold"))


def _conclude(out: "Output", wrong: int) -> None:
    from cli.output import listed

    if wrong:
        out.note(f"{listed(wrong, 'thing is', 'things are')} wrong.", "bold red")
    else:
        out.note("Magpie can run here.", "bold green")


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Check(
            "Python", "wrong", f"{version} is too old.", "Install Python 3.11 or newer, then remove .venv."
        )
    else:
        yield Check("Python", "ok", version)


def _memory() -> Iterator[Check]:
    available = available_memory()
    if available is None:
        yield Check("memory", "warning", "This system does not say how much memory is free.")
        return
    finding = f"{available / GB:.1f} GB free"
    if available < MEMORY_NEEDED:
        yield Check("memory", "wrong", f"{finding}.", "Magpie takes up to 2 GB: close something.")
    elif available < MEMORY_WANTED:
        yield Check("memory", "warning", f"{finding}; large pictures may need more.", "Close something.")
    else:
        yield Check("memory", "ok", finding)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that a new program can have: the machine's, or the container's if less.

    Args:
        root: of the file system that `/proc` and `/sys` are read from.
    """
    found: list[int] = []
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except OSError:
        return None
    groups = root / "sys/fs/cgroup"
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            found.append(int((groups / limit).read_text()) - int((groups / used).read_text()))
        except (OSError, ValueError):
            continue  # no such control group, or no limit in it ("max")
    return min(found) if found else None


def _disk(folder: Path) -> Iterator[Check]:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    finding = f"{free / GB:.1f} GB free for {folder}"
    if not os.access(existing, os.W_OK):
        yield Check("disk", "wrong", f"{existing} cannot be written.", "Choose another folder with --data.")
    elif free < DISK_NEEDED:
        yield Check("disk", "wrong", f"{finding}.", "Make room, or choose another folder with --data.")
    elif free < DISK_WANTED:
        yield Check("disk", "warning", f"{finding}.", "Make room before you add many pictures.")
    else:
        yield Check("disk", "ok", finding)


def _ports(stack: dict[str, Any] | None) -> Iterator[Check]:
    from cli.up import API_PORT, AWS_PORT

    for name, port, option in (("API port", API_PORT, "--port"), ("AWS port", AWS_PORT, "--aws-port")):
        own = stack is not None and f":{port}" in f"{stack['api_url']} {stack['aws_url']}"
        if own:
            yield Check(name, "ok", f"{port} is this Magpie's own")
        elif port_taken(port):
            yield Check(
                name,
                "wrong",
                f"{port} is taken by another program.",
                f"Stop that, or choose another one: ./magpie up {option} {port + 1}",
            )
        else:
            yield Check(name, "ok", f"{port} is free")


def port_taken(port: int) -> bool:
    """Whether nothing more can listen on a port of this machine's loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _database(*, running: bool) -> Iterator[Check]:
    """Start the embedded PostgreSQL in a folder of its own, and ask it for what Magpie needs."""
    if running:
        yield Check("database", "ok", "it runs, in the Magpie that is up")
        return
    import psycopg

    from local.guardian import Guardian
    from local.postgres import DatabaseError, Server

    folder = Path(tempfile.mkdtemp(prefix="magpie-doctor-"))
    guardian = Guardian()
    server = Server(folder / "database", folder / "log", guardian, say=lambda _: None)
    try:
        server.start()
        with psycopg.connect(server.url, autocommit=True, connect_timeout=10) as connection:
            connection.execute("CREATE EXTENSION vector")
            query = "SELECT current_setting('server_version'), extversion FROM pg_extension"
            postgres, pgvector = connection.execute(f"{query} WHERE extname = 'vector'").fetchall()[0]
        as_whom = ", as a system user of its own, since you are root" if os.geteuid() == 0 else ""
        yield Check("database", "ok", f"PostgreSQL {postgres} with pgvector {pgvector} starts{as_whom}")
    except (DatabaseError, psycopg.Error, OSError, ImportError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        remedy = "Remove .venv and run ./bootstrap local."
        if os.geteuid() == 0:
            remedy = "As root it needs a system user: run Magpie as an ordinary user instead."
        yield Check("database", "wrong", f"The embedded PostgreSQL does not start: {reason}", remedy)
    finally:
        server.stop()
        guardian.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _template() -> Iterator[Check]:
    """Read template.yaml the way `magpie up` does, which refuses what it cannot run."""
    from cli.target import ROOT
    from local import template

    try:
        read = template.load(ROOT / "template.yaml")
    except (template.TemplateError, OSError) as error:
        yield Check(
            "template",
            "wrong",
            f"template.yaml cannot be run here: {error}",
            "Mend what it names; local/ tells what it can run.",
        )
        return
    yield Check("template", "ok", f"everything in it can be run here: {len(read.resources)} resources")


def _models() -> Iterator[Check]:
    """Say which models answer, by which keys are set; never what the keys are."""
    for name, variable, real, offline in (
        ("descriptions", "ANTHROPIC_API_KEY", "Anthropic's model", "measured offline, by colours and light"),
        ("meaning", "VOYAGE_API_KEY", "Voyage's model", "offline, by hashed words"),
    ):
        if os.environ.get(variable):
            yield Check(name, "ok", f"{real}, by {variable}; each call costs money")
        else:
            yield Check(name, "ok", f"{offline}; set {variable} for {real}")


def _stack(stack: dict[str, Any] | None, folder: Path) -> Iterator[Check]:
    from cli.client import Api
    from cli.session import SignedIn
    from cli.target import Target
    from cli.tokens import TokenFiles

    if stack is None:
        yield Check("running", "ok", f"No Magpie runs in {folder}; ./magpie up starts one.")
        return
    target = Target(stack["api_url"].rstrip("/"), stack)
    try:
        with Api(target, SignedIn(target, TokenFiles()), attempts=2) as api:
            api.health()
            api.items(limit=1)
    except CommandError as error:
        logs = folder / "logs"
        yield Check(
            "running", "wrong", f"A Magpie runs but is not well: {error.message}", f"Look into {logs}."
        )
    else:
        yield Check("running", "ok", f"Magpie is up at {stack['api_url']} and answers")


def _deployment(address: str) -> Iterator[Check]:
    from cli.client import Api
    from cli.session import SignedIn
    from cli.target import deployment
    from cli.tokens import TokenFiles

    try:
        target = deployment(address)
        with Api(target, SignedIn(target, TokenFiles()), attempts=2) as api:
            version = api.version().get("version")
            yield Check("deployment", "ok", f"{target.api_url} answers, version {version}")
            api.health()
            api.items(limit=1)
    except CommandError as error:
        signed_out = error.code in {"signed_out", "sign_in_refused"}
        if signed_out:
            yield Check("sign-in", "wrong", f"You are not signed in at {address}.", "Run ./magpie login.")
        else:
            remedy = "Look at MAGPIE_API_URL, and at the deployment."
            yield Check("deployment", "wrong", error.message, remedy)
    else:
        yield Check("sign-in", "ok", "You are signed in there")
