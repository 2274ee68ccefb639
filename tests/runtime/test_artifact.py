"""What `sam build` makes: where things are imported from, and how large they are."""

import subprocess
from pathlib import Path

import pytest

from tests.runtime.artifact import ROOT, Artifact, lambda_python
from tests.unit.image_processor.pictures import FORMATS, format_of, photograph

MAX_MEGABYTES = {
    "Api": 80,
    "ImageProcessor": 80,
    "Analyzer": 100,
    "EmailEvents": 80,
    "EmailWebhook": 80,
    "Embedder": 230,
    "Billing": 80,
    "Mailer": 80,
    "Migrate": 80,
    "Exporter": 80,
    "Eraser": 80,
    "Nightly": 80,
    "PostConfirmation": 80,
    "PreAuthentication": 80,
    "PreSignUp": 80,
    "ScanChecker": 80,
    "ScanPlanner": 80,
    "ScanRecorder": 80,
    "ScanReporter": 80,
    "ScanTick": 80,
    "StripeWebhook": 80,
    "Sweeper": 80,
    "Webhooks": 80,
}
"""Unzipped, layers included. Lambda's limit is 250; a cold start reads what it imports of it."""


def test_every_function_has_a_size_to_keep(artifact: Artifact) -> None:
    assert artifact.functions() == sorted(MAX_MEGABYTES)


@pytest.mark.parametrize("function", MAX_MEGABYTES)
def test_a_function_is_small_enough(artifact: Artifact, function: str) -> None:
    assert artifact.megabytes(function) <= MAX_MEGABYTES[function]


def test_the_import_path_is_the_same_as_here(artifact: Artifact) -> None:
    assert (artifact.function("ImageProcessor") / "functions" / "image_processor" / "handler.py").is_file()
    assert (artifact.folder / "SharedLayer" / "python" / "shared" / "envelopes.py").is_file()
    assert list((artifact.folder / "MigrationsLayer" / "python" / "migrations").glob("*.sql"))
    shipped = {path.name for path in (artifact.folder / "WebLayer" / "python" / "web").iterdir()}
    assert shipped == {path.name for path in (ROOT / "web").iterdir()}


@pytest.mark.parametrize("function", MAX_MEGABYTES)
def test_only_its_own_code_is_shipped_with_a_function(artifact: Artifact, function: str) -> None:
    shipped = {path.name for path in (artifact.function(function) / "functions").iterdir() if path.is_dir()}
    assert len(shipped) == 1
    assert not (artifact.function(function) / "shared").exists()


@pytest.mark.parametrize("function", MAX_MEGABYTES)
def test_boto3_is_not_shipped(artifact: Artifact, function: str) -> None:
    for folder in (artifact.function(function), *(layer / "python" for layer in artifact.layers(function))):
        assert not (folder / "boto3").exists()
        assert not (folder / "botocore").exists()


@pytest.mark.parametrize("function", MAX_MEGABYTES)
def test_everything_that_a_function_may_import_is_there(artifact: Artifact, function: str) -> None:
    """Also what it imports only later: each of its modules, and of `shared` what they name."""
    task = artifact.function(function)
    (own,) = [path.name for path in (task / "functions").iterdir() if path.is_dir()]
    modules = [f"functions.{own}.{path.stem}" for path in sorted((task / "functions" / own).glob("*.py"))]
    assert modules
    path = [task, *(layer / "python" for layer in artifact.layers(function))]
    done = run(path, "".join(f"import {module}\n" for module in modules), task)
    assert done.returncode == 0, done.stderr


def run(path: list[Path], code: str, folder: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [lambda_python(), "-B", "-c", code, *arguments],
        cwd=folder,
        env={"PYTHONPATH": ":".join(map(str, path)), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("function", MAX_MEGABYTES)
def test_what_it_imports_is_compiled_for_the_place_where_it_will_be(
    artifact: Artifact, function: str
) -> None:
    (handler,) = artifact.function(function).glob("functions/*/__pycache__/handler.cpython-313.pyc")
    content = handler.read_bytes()
    assert content[4:8] == b"\x01\0\0\0"  # by hash, unchecked: archives change the times of files
    assert f"/var/task/functions/{handler.parts[-3]}/handler.py".encode() in content
    common = (
        artifact.folder / "SharedLayer" / "python" / "shared" / "__pycache__" / "envelopes.cpython-313.pyc"
    )
    assert b"/opt/python/shared/envelopes.py" in common.read_bytes()


RENDERED = """
import sys
from functools import partial
from pathlib import Path
from functions.image_processor import sandbox
from functions.image_processor.rendition import render
for path in map(Path, sys.argv[1:]):
    found = sandbox.run(partial(render, path, 64_000_000, False))
    print(found.format, *found.image_size)
"""


def test_image_processor_reads_every_format_without_what_was_taken_out_of_it(
    artifact: Artifact, tmp_path: Path
) -> None:
    paths = []
    for name, encode in FORMATS.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(encode(photograph()))
    folder = artifact.function("ImageProcessor")
    assert not list(folder.glob("*/libx265-*"))
    path = [folder, *(layer / "python" for layer in artifact.layers("ImageProcessor"))]
    done = run(path, RENDERED, folder, *paths)
    assert done.stdout.splitlines() == [f"{format_of(name)} 451 300" for name in FORMATS], done.stderr
    assert done.returncode == 0
