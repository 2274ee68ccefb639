"""`magpie import` and `magpie export`, against the real handler, PostgreSQL and a bucket, with all stages."""

import base64
import hashlib
import io
import itertools
import json
import os
import random
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cli.app import main
from cli.tokens import TokenFiles, Tokens
from functions.analyzer import claude
from tests.conftest import Aws
from tests.fakes.anthropic_server import AnthropicServer
from tests.fakes.http_api import Caller
from tests.fakes.pipeline import STAGES, Pipeline
from tests.fakes.served_api import Served, serving

Database = psycopg.Connection[dict[str, Any]]
Run = Callable[..., Any]

NAMES = UUID("7d4f0d31-3c7b-4d0e-9d8a-0c5a1e9f2b11")
ODD = "Strandspaziergang 🏖 «früh» \u202efdp.exe"


def uid(name: str) -> str:
    return str(uuid5(NAMES, name))


def picture(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (48, 32), (number * 37 % 256, number * 91 % 256, 80)).save(out, "PNG")
    return out.getvalue()


def item(name: str, **changed: Any) -> dict[str, Any]:
    item_id = uid(name)
    return {
        "id": item_id,
        "filename": f"{item_id}.png",
        "original_filename": f"{name}.png",
        "file_path": f"2023/{item_id}.png",
        "file_size": None,
        "mime_type": "image/png",
        "created_at": "2023-05-06T07:08:09.5",
        "updated_at": "2023-06-07T08:09:10",
        **changed,
    }


def analysis(name: str, version: int = 1, **changed: Any) -> dict[str, Any]:
    said = {"headline": f"View {name}", "summary": f"What {name} shows.", "category": "Travel"}
    return {
        "id": uid(f"{name} {version}"),
        "item_id": uid(name),
        "version": version,
        "category": "Travel",
        "summary": f"What {name} shows.",
        "raw_response": json.dumps(said, indent=1),
        "provider_used": "openai",
        "model_used": "gpt-4o",
        "trace_id": f"trace-{name}",
        "created_at": "2023-05-06T08:00:00",
        **changed,
    }


def embedding(name: str, version: int = 1, **changed: Any) -> dict[str, Any]:
    numbers = [0.0] * 1024
    numbers[UUID(uid(name)).int % 1024] = 1.0
    return {
        "id": uid(f"vector of {name} {version}"),
        "item_id": uid(name),
        "analysis_id": uid(f"{name} {version}"),
        "embedding": numbers,
        "embedding_model": "hashed-words-1",
        "embedding_dimensions": 1024,
        "embedding_source": '{"fields": ["summary"]}',
        "created_at": "2023-05-06T09:00:00",
        **changed,
    }


COLUMNS = {
    "items": "id, filename, original_filename, file_path, file_size, mime_type, created_at, updated_at",
    "analyses": "id, item_id, version, category, summary, raw_response, provider_used, model_used, trace_id,"
    " created_at",
    "embeddings": "id, item_id, analysis_id, embedding, embedding_model, embedding_dimensions,"
    " embedding_source, created_at",
}


class Collection:
    """Somebody's collection: rows, and a folder of images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.tables: dict[str, list[dict[str, Any]]] = {"items": [], "analyses": [], "embeddings": []}

    def add(self, name: str, body: bytes | None = None, **changed: Any) -> None:
        """An item with an analysis and a vector, and its image where there is a body."""
        row = item(name, **changed)
        self.tables["items"].append(row)
        self.tables["analyses"].append(analysis(name))
        self.tables["embeddings"].append(embedding(name))
        if body is not None:
            path = self.images / row["file_path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)

    def as_json(self) -> Path:
        path = self.folder / "collection.json"
        path.write_text(json.dumps({"exported_at": "2024-01-01T00:00:00", "tables": self.tables}))
        return path

    def as_sqlite(self) -> Path:
        path = self.folder / "collection.db"
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA journal_mode = WAL")
            for table, columns in COLUMNS.items():
                db.execute(f"CREATE TABLE {table} ({columns}, note)")
                names = columns.split(", ")
                for row in self.tables[table]:
                    values = [
                        struct.pack(f"<{len(row[name])}f", *row[name])
                        if name == "embedding" and isinstance(row[name], list)
                        else row[name]
                        for name in names
                    ]
                    marks = ", ".join("?" * len(names))
                    db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)  # noqa: S608
        return path

    def manifest(self) -> Path:
        entries = [
            {
                "filename": path.name,
                "size": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in sorted(self.images.rglob("*.png"))
        ]
        path = self.folder / "manifest.json"
        path.write_text(json.dumps({"images": entries}))
        return path


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicServer]:
    """A model that must not be asked: it answers nothing."""
    with AnthropicServer() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        claude.forget()
        yield server
        claude.forget()


@pytest.fixture
def environment(
    function_env: Callable[..., dict[str, str]], models: AnthropicServer, aws: Aws
) -> dict[str, str]:
    names = [function_env(name) for name in ("ImageProcessor", "Embedder", "Exporter")]
    names.append(function_env("Analyzer", ANALYZER="anthropic"))
    whole = {name: value for each in names for name, value in each.items()}
    whole |= function_env("Api", EMBEDDER="offline")
    aws.put_parameter(whole["ANTHROPIC_KEY_PARAMETER"], "sk-test")
    return whole


@pytest.fixture
def served(
    environment: dict[str, str], aws: Aws, db: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    """A Magpie of alice, who is signed in."""
    stages = {**STAGES, "ExporterQueue": "exporter"}
    caller = Caller("alice", environment["USER_POOL_CLIENT_ID"])
    with serving(caller, Pipeline(aws, db, stages)) as served:
        claims = base64.urlsafe_b64encode(json.dumps({"sub": "alice"}).encode()).decode().rstrip("=")
        sign_in = {"region": "us-east-1", "user_pool_id": "p", "client_id": "c"}
        tokens = Tokens(served.url, "a@example.com", sign_in, f"e30.{claims}.x", "r", time.time() + 9e5)
        TokenFiles().write(tokens)
        monkeypatch.setenv("MAGPIE_API_URL", served.url)
        yield served


@pytest.fixture
def run(run: Run) -> Run:
    """As ever, without what the functions log, which are in this process too."""

    def run_command(*arguments: str) -> Any:
        ran = run(*arguments)
        said = (line for line in ran.out.splitlines(keepends=True) if not line.startswith('{"level"'))
        return replace(ran, out="".join(said))

    return run_command


def rows(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Everything that stays, without what no two runs have in common."""
    passing = {"object_version", "object_sequencer", "correlation_id"}
    found = {}
    for table in ("items", "analyses", "embeddings", "import_items", "search_documents", "usage_ledger"):
        listed = db.execute(f"SELECT to_jsonb(t) AS row FROM {table} AS t")  # type: ignore[arg-type]  # noqa: S608
        found[table] = [
            {name: value for name, value in each["row"].items() if name not in passing} for each in listed
        ]
        found[table].sort(key=lambda row: json.dumps(row, sort_keys=True))
    return found


class TestAnImport:
    @pytest.mark.parametrize("kind", ["as_json", "as_sqlite"])
    def test_brings_everything_and_pays_for_nothing(
        self,
        kind: str,
        run: Run,
        served: Served,
        collection: Collection,
        db: Database,
        models: AnthropicServer,
    ) -> None:
        for number in range(3):
            collection.add(f"picture {number}", picture(number))
        collection.add("words only")
        collection.tables["analyses"].append(analysis("picture 0", 4, summary="Newer."))
        collection.tables["embeddings"][0] = embedding("picture 0", 4)
        source = getattr(collection, kind)()
        arguments = ["import", str(source), "--images", str(collection.images), "--without-images", "--json"]
        ran = run(*arguments, "--manifest", str(collection.manifest()))
        assert ran.code == 0, ran.err + ran.out
        told = ran.json
        assert told["tables"] == {
            "items": {"source": 4, "imported": 4, "exists": 0, "skipped": 0, "failed": 0},
            "analyses": {"source": 5, "imported": 5, "exists": 0, "skipped": 0, "failed": 0},
            "embeddings": {"source": 4, "imported": 4, "exists": 0, "skipped": 0, "failed": 0},
            "images": {"source": 4, "imported": 3, "exists": 0, "skipped": 1, "failed": 0},
        }
        size = sum(len(picture(number)) for number in range(3))
        assert told["bytes"] == {"source": size, "imported": size, "exists": 0, "skipped": 0, "failed": 0}
        assert told["checksums"] == {"compared": 3, "same": 3, "different": 0}
        assert told["balances"]
        assert [each["code"] for each in told["skipped"]] == ["missing_image"]
        assert models.asked == []
        assert rows(db)["usage_ledger"] == []
        found = db.execute("SELECT status, updated_at FROM items").fetchall()
        assert {each["status"] for each in found} == {"ready"}
        assert {each["updated_at"].year for each in found} == {2023}
        (newest,) = db.execute(
            "SELECT analysis_version FROM items WHERE item_id = %s", (uid("picture 0"),)
        ).fetchall()
        assert newest["analysis_version"] == 4
        listed = run("list", "--json")
        assert (listed.code, len(listed.json["items"])) == (0, 4)
        assert run("show", uid("words only")).code == 0
        assert run("list").code == 0

        # The same again changes nothing, and asks for no image.
        before, uploads = rows(db), sum(each == "POST /storage" for each in served.asked)
        for more in ([], ["--resume"]):
            again = run(*arguments, *more)
            assert again.code == 0
            assert {name: again.json[name] for name in ("run", "tables", "bytes", "checksums")} == {
                name: told[name] for name in ("run", "tables", "bytes", "checksums")
            }
        assert rows(db) == before
        assert sum(each == "POST /storage" for each in served.asked) == uploads

        undone = run("import", "--undo", told["run"][:8], "--json")
        assert (undone.code, undone.json) == (0, {"run": told["run"], "removed": 4})
        assert not any(rows(db).values())
        assert not served.pipeline._aws.s3.list_object_versions(Bucket=served.pipeline._aws.uploads).get(
            "Versions"
        )

    def test_tells_of_each_row_that_it_cannot_take_and_takes_the_others(
        self, run: Run, served: Served, collection: Collection, tmp_path: Path, db: Database
    ) -> None:
        collection.add("good", picture(1))
        collection.add("missing")
        collection.add("empty", b"")
        collection.add("outside", file_path="../outside.png")
        collection.add("absolute", file_path="/etc/passwd")
        collection.add("linked", picture(2))
        (tmp_path / "secret.png").write_bytes(picture(3))
        linked = collection.images / f"2023/{uid('linked')}.png"
        linked.unlink()
        linked.symlink_to(tmp_path / "secret.png")
        collection.add("pipe", file_path="pipe")
        os.mkfifo(collection.images / "pipe")
        collection.add("no picture", b"these bytes are none")
        collection.add("twice", picture(4))
        collection.add("twice", picture(4))
        collection.add("bad id", id="17")
        collection.add("bad date", picture(5), created_at="1 May")
        collection.add("nul", picture(6), original_filename="a\x00b")
        collection.tables["analyses"] += [
            analysis("good", 2, raw_response="{"),
            analysis("good", 3, id=uid("good 1")),
            analysis("nobody's"),
            analysis("good", 1, id=uid("again")),
            analysis("good", 4, model_used=7),
        ]
        collection.tables["embeddings"] += [
            embedding("nobody's"),
            embedding("good", id="x", embedding=[float("inf")] * 1024),
            embedding("good", id="y", embedding=[1.0, 2.0], embedding_dimensions=2),
            embedding("good", id="z", embedding_model="voyage-3.5-lite"),
        ]
        source = collection.as_sqlite()
        images = ["--images", str(collection.images)]
        ran = run("import", str(source), *images, "--json")
        assert ran.code == 1, ran.err + ran.out
        told = ran.json
        assert told["balances"]

        def failed(table: str) -> dict[str, list[int]]:
            found: dict[str, list[int]] = {}
            for each in told["failed"]:
                assert each["message"]
                if each["table"] == table:
                    found.setdefault(each["code"], []).append(each["row"])
            return found

        assert failed("items") == {
            "missing_image": [2],
            "empty_image": [3],
            "path_escapes": [4, 5, 6],
            "unreadable_image": [7],
            "not_an_image": [8],
            "duplicate_id": [10],
            "bad_id": [11],
            "bad_date": [12],
            "nul": [13],
        }
        assert {code: places for code, places in failed("analyses").items() if code != "item_failed"} == {
            "bad_json": [14],
            "duplicate_id": [10, 15],
            "orphan": [11, 16],
            "duplicate_version": [17],
            "wrong_type": [18],
        }
        assert {code: places for code, places in failed("embeddings").items() if code != "item_failed"} == {
            "duplicate_id": [10],
            "orphan": [11, 14],
            "bad_vector": [15],
        }
        assert {(each["code"], each["row"]) for each in told["skipped"]} == {
            ("other_dimensions", 16),
            ("other_model", 17),
        }
        assert told["tables"]["items"]["imported"] == 2
        assert sorted(
            row["filename"] for row in db.execute("SELECT filename FROM items WHERE status = 'ready'")
        ) == ["good.png", "twice.png"]

        # The dry run says the same of all that can be known without sending it.
        dry = run("import", str(source), *images, "--dry-run", "--json").json
        assert dry["balances"]
        known = [each for each in told["failed"] if each["row"] != 8 and each["code"] != "not_an_image"]
        assert [each for each in dry["failed"] if each["row"] != 8] == known

        shown = run("import", str(source), *images, "--dry-run")
        assert shown.code == 1
        assert "path_escapes" in shown.out
        assert "Nothing was sent" in shown.err

    def test_checks_the_manifest(self, run: Run, served: Served, collection: Collection) -> None:
        for number in range(4):
            collection.add(f"picture {number}", picture(number))
        manifest = collection.manifest()
        told = json.loads(manifest.read_text())
        by_name = {entry["filename"]: entry for entry in told["images"]}
        by_name[f"{uid('picture 0')}.png"]["size"] += 1
        by_name[f"{uid('picture 1')}.png"]["sha256"] = "00" * 32
        del by_name[f"{uid('picture 2')}.png"]
        manifest.write_text(json.dumps({"images": list(by_name.values())}))
        arguments = ["import", str(collection.as_json()), "--images", str(collection.images), "--dry-run"]
        ran = run(*arguments, "--json", "--manifest", str(manifest))
        codes = [each["code"] for each in ran.json["failed"] if each["table"] == "images"]
        assert codes == ["size_differs", "sha256_differs", "not_in_manifest"]
        assert ran.json["tables"]["images"]["imported"] == 1
        manifest.write_text('{"pictures": []}')
        ran = run(*arguments, "--json", "--manifest", str(manifest))
        assert (ran.code, ran.json["error"]["code"]) == (1, "bad_manifest")

    def test_an_image_that_changes_on_its_way_is_not_taken(
        self, run: Run, served: Served, collection: Collection, models: AnthropicServer
    ) -> None:
        collection.add("a", picture(1))
        path = collection.images / f"2023/{uid('a')}.png"

        def change(method: str, asked: str) -> None:
            if asked.endswith("/items"):
                path.write_bytes(picture(1)[:-1] + b"x")

        served.before = change
        ran = run("import", str(collection.as_json()), "--images", str(collection.images), "--json",
                  "--timeout", "1")  # fmt: skip
        assert ran.code == 1
        assert ran.json["balances"]
        assert ran.json["tables"]["items"]["failed"] == 1

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "it is not JSON of an export"),
            (b"{}", "it has no tables"),
            (b'{"tables": {"items": [{"id": 1}', "it is not JSON of an export"),
            (b'{"tables": {"items": [NaN]}}', "it is not JSON of an export"),
            (b'{"tables": {"items": 5}}', "it is not JSON of an export"),
            (b"SQLite format 3\x00 and then nothing", "cannot be read as a database"),
        ],
    )
    def test_of_what_is_no_source_says_so(
        self, run: Run, home: Path, tmp_path: Path, content: bytes, said: str
    ) -> None:
        path = tmp_path / "source"
        path.write_bytes(content)
        ran = run("import", str(path), "--dry-run")
        assert ran.code == 1
        assert said in ran.err

    def test_wrong_usage_is_told(self, run: Run, home: Path, tmp_path: Path) -> None:
        assert run("import").code == 2
        assert run("import", "x", "--undo", "abcdef12").code == 2
        assert run("import", str(tmp_path / "nothing")).code == 1


class TestAnExport:
    def test_of_what_was_imported_is_what_was_imported(
        self, run: Run, served: Served, collection: Collection, tmp_path: Path, db: Database
    ) -> None:
        for number in range(2):
            body = picture(number)
            collection.add(f"picture {number}", body, file_size=len(body))
        collection.add(ODD)
        collection.tables["analyses"] += [
            analysis(ODD, 7, raw_response=None, category=None, provider_used=None, model_used=None),
            analysis("picture 0", 3, raw_response='{"summary": "é \\u00e9",  "x": [1.50, {"y": null}]}'),
        ]
        collection.tables["embeddings"] = collection.tables["embeddings"][1:2]
        source = ["--images", str(collection.images), "--without-images"]
        assert run("import", str(collection.as_json()), *source).code == 0
        out, images = tmp_path / "out.json", tmp_path / "out"
        ran = run("export", str(out), "--images", str(images), "--json")
        assert ran.code == 0, ran.err + ran.out
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        assert ran.json["items"] == 3
        tables = json.loads(out.read_text())["tables"]

        def by_id(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return sorted(listed, key=lambda row: str(row["id"]))

        for table in ("items", "analyses"):
            assert by_id(tables[table]) == by_id(collection.tables[table])
        # The others got vectors here.
        kept = [row for row in tables["embeddings"] if row["item_id"] == uid("picture 1")]
        assert kept == collection.tables["embeddings"]
        assert len(tables["embeddings"]) == 3
        for number in range(2):
            name = f"2023/{uid(f'picture {number}')}.png"
            assert (images / name).read_bytes() == (collection.images / name).read_bytes()
        manifest = json.loads((images / "manifest.json").read_text())["images"]
        assert {(entry["filename"], entry["sha256"]) for entry in manifest} == {
            (f"{uid(f'picture {number}')}.png", hashlib.sha256(picture(number)).hexdigest())
            for number in range(2)
        }
        # And the other way round: what was exported can be imported, with its manifest, and is the same.
        before = rows(db)
        (first,) = db.execute("SELECT import_id FROM imports").fetchall()
        assert run("import", "--undo", str(first["import_id"])).code == 0
        ran = run("import", str(out), "--images", str(images), "--without-images", "--json",
                  "--manifest", str(images / "manifest.json"))  # fmt: skip
        assert (ran.code, ran.json["checksums"]) == (0, {"compared": 2, "same": 2, "different": 0})
        again = tmp_path / "again.json"
        assert run("export", str(again)).code == 0
        assert json.loads(again.read_text())["tables"] == tables
        for table in ("embeddings", "search_documents"):
            assert rows(db)[table] == before[table]

    def test_writes_nothing_where_it_fails(
        self, run: Run, served: Served, tmp_path: Path, db: Database
    ) -> None:
        out = tmp_path / "out.json"
        out.write_text("what was there")

        def fail(method: str, path: str) -> None:
            if path == "/copy":
                served.copy = b"half of"

        served.before = fail
        ran = run("export", str(out), "--json")
        assert (ran.code, ran.json["error"]["code"]) == (1, "bad_answer")
        assert out.read_text() == "what was there"
        assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out.json"]


PLAIN = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=12)
SOME = PLAIN.filter(bool)
WHEN = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - the format's times have no zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
).map(lambda when: when.isoformat())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=6,
)
SAID = st.dictionaries(
    st.sampled_from(["headline", "summary", "category", "subcategories", "media_metadata", "image_details"])
    | PLAIN,
    VALUES,
    max_size=5,
)


@st.composite
def collections(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """A small collection of odd rows, all of which can be taken."""
    tables: dict[str, list[dict[str, Any]]] = {"items": [], "analyses": [], "embeddings": []}
    for item_id in draw(st.lists(st.uuids().map(str), min_size=1, max_size=3, unique=True)):
        tables["items"].append(
            {
                "id": item_id,
                "filename": draw(SOME),
                "original_filename": draw(st.none() | SOME),
                "file_path": draw(SOME),
                "file_size": draw(st.none() | st.integers(0, 2**40)),
                "mime_type": draw(st.none() | SOME),
                "created_at": draw(WHEN),
                "updated_at": draw(WHEN),
            }
        )
        for version in draw(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=2, unique=True)):
            # Something that a vector can be made of; without it, an item ends as failed, and changes by that.
            said = draw(st.none() | SAID.map(lambda said: {**said, "headline": "harbour"}))
            tables["analyses"].append(
                {
                    "id": str(uuid5(NAMES, f"{item_id} {version}")),
                    "item_id": item_id,
                    "version": version,
                    "category": draw(st.none() | PLAIN),
                    "summary": f"harbour {draw(PLAIN)}",
                    "raw_response": None
                    if said is None
                    else json.dumps(said, ensure_ascii=draw(st.booleans())),
                    "provider_used": draw(st.none() | PLAIN),
                    "model_used": draw(st.none() | PLAIN),
                    "trace_id": draw(st.none() | PLAIN),
                    "created_at": draw(WHEN),
                }
            )
    return tables


def test_an_import_of_an_export_is_what_was_exported(
    served: Served, run: Run, tmp_path: Path, models: AnthropicServer
) -> None:
    people = itertools.count()

    def exported() -> dict[str, list[dict[str, Any]]]:
        out = tmp_path / "out.json"
        assert run("export", str(out)).code == 0
        tables: dict[str, list[dict[str, Any]]] = json.loads(out.read_text())["tables"]
        return {table: sorted(rows, key=lambda row: str(row["id"])) for table, rows in tables.items()}

    def imported(tables: dict[str, list[dict[str, Any]]]) -> None:
        """By somebody who has nothing yet."""
        served.caller = replace(served.caller, user_id=f"person-{next(people)}")
        source = tmp_path / "in.json"
        source.write_text(json.dumps({"exported_at": None, "tables": tables}))
        told = run("import", str(source), "--without-images", "--json", "--timeout", "2").json
        assert told["balances"], told
        assert not [each for each in told["failed"] if each["table"] != "images"], told["failed"]

    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(collections())
    def check(tables: dict[str, list[dict[str, Any]]]) -> None:
        imported(tables)
        first = exported()
        for table in ("items", "analyses"):
            assert first[table] == sorted(tables[table], key=lambda row: str(row["id"]))
        imported(first)
        assert exported() == first

    check()
    assert models.asked == []


def test_killed_again_and_again_it_ends_as_if_it_had_never_been(
    served: Served,
    collection: Collection,
    run: Run,
    start: Callable[..., subprocess.Popen[str]],
    db: Database,
    models: AnthropicServer,
) -> None:
    for number in range(16):
        collection.add(f"picture {number}", picture(number))
    source = collection.as_sqlite()
    arguments = ["import", str(source), "--images", str(collection.images), "--json"]
    assert run(*arguments).code == 0
    undisturbed = rows(db)
    run_id = run(*arguments).json["run"]
    assert run("import", "--undo", run_id).code == 0
    chance, killed = random.Random(7), 0  # noqa: S311 - to be the same each time
    for _ in range(5):
        process = start(*arguments)
        last = len(served.asked) + chance.randrange(1, 12)
        while process.poll() is None and len(served.asked) < last:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 3
    ran = run(*arguments, "--resume")
    assert (ran.code, ran.json["balances"]) == (0, True)
    assert rows(db) == undisturbed
    assert models.asked == []


def test_ten_thousand_items_are_read_in_bounded_memory(tmp_path: Path) -> None:
    """A process of its own reads, judges and batches them; what it needs beside Python and its modules."""
    script = """
import resource, sys
from pathlib import Path
from cli.importer.rows import Reader, batches
from cli.importer.scratch import Scratch
from cli.importer.reconciliation import Reconciliation
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Scratch.of(Path(sys.argv[1])) as scratch:
    reader = Reader(scratch, None, False, True, None)
    reader.orphans()
    found = (reader.read(kept) for kept in scratch.rows("items"))
    count = sum(len(batch) for batch in batches((each for each in found if each), 100))
    account = Reconciliation(scratch)
assert account.balances, account.document()
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    path = tmp_path / "large.json"
    with path.open("w") as out:
        out.write('{"tables": {"items": [')
        out.write(",".join(json.dumps(item(f"p{number}")) for number in range(10_000)))
        out.write('], "analyses": [')
        filler = "x" * 6000
        for number in range(10_000):
            out.write("," * (number > 0) + json.dumps(analysis(f"p{number}", summary=filler)))
        out.write("]}}")
    size = path.stat().st_size // (1 << 20)
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    count, megabytes = map(int, ran.stdout.split())
    assert count == 10_000
    assert size > 60
    assert megabytes < 40, f"{megabytes} MB for a file of {size} MB"


def test_help_names_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "import" in said
    assert "export" in said
