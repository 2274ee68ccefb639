"""What a message takes in each function, and a picture in the database: `python -m benchmarks.durations`.

Each function that costs something per picture, per search or by itself runs in a process of its own, warm,
with the environment that the template gives it, on PostgreSQL (the embedded one) and moto. Nothing else runs
beside it: no queue is polled. Told are processor time, AWS calls, round trips to the database with the time
spent waiting for it, bytes of log and the most memory. What the network and a model add on AWS is not here:
`magpie cost` adds it (cli/costs). Models are asked through their real SDKs, at a server on this machine that
answers at once.

With `--write` the figures become those of `magpie cost`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "cli" / "costs" / "measured.json"
REGION = "us-east-1"
ROUNDS, QUICK_ROUNDS = 9, 3
OWNER = "0c7a1f5e-2f4f-4a56-9a55-2f3f2f6f7a01"
PICTURES = {2: "2 MP JPEG", 12: "12 MP JPEG", 24: "24 MP JPEG"}
BATCHES = (1, 10, 128)
OWNERS = ((1, 20_000), (1, 2_000))
COPIES = 100
"""How often the rows of the pictures that were brought in are copied, for pages to be full."""
COPIED = ("items", "analyses", "item_events", "model_replies", "usage_ledger", "quota_reservations")
LOADED = ("embeddings", "search_documents", "search_words")
"""Tables that a picture leaves rows in. Of the second, how large a row is depends on what else there is, and
they are measured where there are thousands of pictures."""
READ_BY_SEARCHES = "embeddings_exact"
"""The index that a search reads as far as it is one owner's."""

NOT_DESCRIBED = """
DELETE FROM {table}
 WHERE (user_id, item_id) NOT IN (
       SELECT user_id, item_id FROM model_replies JOIN items USING (user_id, sha256))
"""
COLUMNS = """
SELECT column_name
  FROM information_schema.columns
 WHERE table_name = %s AND column_name <> 'user_id' AND is_generated = 'NEVER'
   AND coalesce(column_default, '') NOT LIKE 'gen_random_uuid%%'
"""
COPY = """
INSERT INTO {table} (user_id, {columns}) OVERRIDING SYSTEM VALUE
SELECT overlay(user_id placing %(number)s from 1 for 4), {columns} FROM {table} WHERE user_id = %(owner)s
"""

Figures = dict[str, Any]


class Worker:
    """A function in a process of its own (`benchmarks/warm.py`)."""

    def __init__(self, function: str, environment: Mapping[str, str]) -> None:
        self._function = function
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-m", "benchmarks.warm", function],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, event: Mapping[str, Any]) -> Figures:
        """Return what the message took."""
        assert self._process.stdin  # noqa: S101 - it was asked for
        assert self._process.stdout  # noqa: S101 - as above
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._function} ended")
        found: Figures = json.loads(line)
        failed = found["answer"].get("batchItemFailures") or found["answer"].get("statusCode", 200) >= 300
        if failed:
            raise SystemExit(f"{self._function} failed: {found['answer']}")
        return found

    def stop(self) -> None:
        """End it: it leaves when nobody asks any more."""
        self._process.communicate(timeout=60)


class World:
    """PostgreSQL, AWS and models to run functions against.

    Attributes:
        url: of the database whose rows the stages make.
        loaded: of the one that holds thousands of pictures.
    """

    def __init__(self, stack: ExitStack, say: Callable[[str], None]) -> None:
        from moto.server import ThreadedMotoServer

        from local import resources, template
        from tests.fakes import voyage_server
        from tests.fakes.anthropic_server import AnthropicServer

        self._stack, self._resources = stack, resources
        say("starting PostgreSQL and AWS")
        self.url, self.loaded = stack.enter_context(databases())
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        self._aws_url = "http://{}:{}".format(*moto.get_host_and_port())
        self.anthropic = stack.enter_context(AnthropicServer())
        self._voyage = stack.enter_context(voyage_server.running())
        # The largest tier: what is measured is not to end at what somebody may have.
        self._described = template.load(ROOT / "template.yaml", {"DefaultTier": "team"})
        self._made = resources.create(self._described, self.client)
        for name, value in (("anthropic-api-key", "none"), ("voyage-api-key", voyage_server.KEY)):
            self.client("ssm").put_parameter(Name=f"/magpie/dev/{name}", Value=value, Type="SecureString")
        for name, url in (("database-url", self.url), ("loaded-url", self.loaded)):
            self.client("ssm").put_parameter(Name=f"/magpie/dev/{name}", Value=url, Type="SecureString")

    def client(self, service: str) -> Any:
        """Return a boto3 client of this world's AWS."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self._aws_url,
            region_name=REGION,
            aws_access_key_id="bench",
            aws_secret_access_key="bench",  # noqa: S106 - nobody checks it
        )

    def ref(self, logical_id: str) -> str:
        """Return what a resource is called."""
        return str(self._made.ref(logical_id))

    def function(self, folder: str, logical_id: str, **more: str) -> Worker:
        """Start a function with the environment that the template gives it, and more."""
        given = self._resources.environment(self._described, self._made, logical_id)
        worker = Worker(
            folder,
            {
                "PATH": os.defpath,
                "PYTHONPATH": str(ROOT),
                "AWS_ENDPOINT_URL": self._aws_url,
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
                "ANTHROPIC_BASE_URL": self.anthropic.url,
                "VOYAGE_BASE_URL": self._voyage.base_url,
                "LAMBDA_TASK_ROOT": str(ROOT),
                **given,
                **more,
            },
        )
        self._stack.callback(worker.stop)
        return worker

    def next_message(self, queue: str) -> str:
        """Return the body of the message that a stage put before the next one."""
        sqs, url = self.client("sqs"), self.ref(queue)
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1).get("Messages", [])
        if not found:
            raise SystemExit(f"nothing came into {queue}")
        sqs.delete_message(QueueUrl=url, ReceiptHandle=found[0]["ReceiptHandle"])
        return str(found[0]["Body"])


@contextmanager
def databases() -> Iterator[tuple[str, str]]:
    """Yield the URLs of two databases with the tables of today, and nothing in them."""
    import psycopg

    from benchmarks import postgres

    with postgres.running() as server:
        urls = []
        for name in ("brought", "loaded"):
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
            urls.append(server.get_uri(name))
            postgres.migrate(urls[-1])
        yield urls[0], urls[1]


def records(queue: str, bodies: Sequence[str]) -> Figures:
    """Return what Lambda gives a function for messages of its queue."""
    return {
        "Records": [
            {
                "messageId": str(uuid4()),
                "receiptHandle": "handle",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795166100742"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{queue}",
                "awsRegion": REGION,
            }
            for body in bodies
        ]
    }


def upload(world: World, jpeg: bytes) -> str:
    """Put a picture that is nobody else's into the uploads bucket, and return what S3 says of it."""
    remark = uuid4().bytes
    body = jpeg[:2] + b"\xff\xfe" + (len(remark) + 2).to_bytes(2, "big") + remark + jpeg[2:]
    key, bucket = f"{OWNER}/{uuid4()}.jpg", world.ref("UploadsBucket")
    stored = world.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType="image/jpeg")
    sample = json.loads((ROOT / "events" / "samples" / "image_processor" / "queue.json").read_text())
    envelope = json.loads(sample["Records"][0]["body"])
    envelope["detail"]["bucket"]["name"] = bucket
    envelope["detail"]["object"] |= {"key": key, "size": len(body), "version-id": stored["VersionId"]}
    return json.dumps(envelope)


def of_pictures(world: World, rounds: int, say: Callable[[str], None]) -> tuple[Figures, Figures]:
    """Bring pictures in, stage by stage; returns what each message took, and bytes of the objects."""
    from benchmarks.collection import Collection
    from benchmarks.photographs import make
    from benchmarks.pictures import CACHE
    from tests.fakes.anthropic_server import message

    collection = Collection(((1, 3 * (rounds + 1) * len(PICTURES)),))
    files = make(CACHE / "pictures", list(PICTURES.values()))
    processor = world.function("image_processor", "ImageProcessor")
    analyzers = {
        "offline": world.function("analyzer", "Analyzer", ANALYZER="offline"),
        "model": world.function("analyzer", "Analyzer", ANALYZER="anthropic"),
    }
    embedder = world.function("embedder", "Embedder", EMBEDDER="voyage")
    took: dict[str, dict[str, list[Figures]]] = {"image_processor": {}, "analyzer": {}}
    sizes: dict[str, dict[str, int]] = {}
    spoken = iter(range(len(collection.pictures)))
    for number in range(rounds + 1):
        say(f"pictures, round {number} of {rounds}")
        for megapixels, name in PICTURES.items():
            jpeg = files[name].read_bytes()
            for how, analyzer in analyzers.items():
                uploaded = upload(world, jpeg)
                of_render = processor.tell(records("ImageProcessor", [uploaded]))
                if how == "model":
                    said = reply(collection, [next(spoken) for _ in range(3)])
                    world.anthropic.will_answer(message(said, input_tokens=5300, output_tokens=900))
                of_analysis = analyzer.tell(records("Analyzer", [world.next_message("AnalyzerQueue")]))
                embedder.tell(records("Embedder", [world.next_message("EmbedderQueue")]))
                if number:  # the first opens connections, and imports what only work needs
                    took["image_processor"].setdefault(f"{megapixels} MP", []).append(of_render)
                    took["analyzer"].setdefault(how, []).append(of_analysis)
            sizes[f"{megapixels} MP"] = objects_of(world, uploaded, len(jpeg))
    return {name: {case: median(each) for case, each in cases.items()} for name, cases in took.items()}, sizes


def reply(collection: Any, numbers: Sequence[int]) -> str:
    """Return what a model says at the length that one says it: some 900 tokens."""
    first, *others = (collection.analysis(collection.pictures[number]) for number in numbers)
    first["summary"] = " ".join([first["summary"], *(each["summary"] for each in others)])
    for each in others:
        first["image_details"]["objects"] += each["image_details"]["objects"]
        first["image_details"]["themes"] += each["image_details"]["themes"]
    return json.dumps(first)


def objects_of(world: World, uploaded: str, original: int) -> dict[str, int]:
    """Return the bytes of a picture's objects."""
    from shared import items

    stored = json.loads(uploaded)["detail"]
    item_id = items.item_id(stored["bucket"]["name"], stored["object"]["key"])
    s3, bucket = world.client("s3"), world.ref("MediaBucket")
    keys = {"web image": items.image_key(OWNER, item_id), "thumbnail": items.thumbnail_key(OWNER, item_id)}
    sizes = {name: s3.head_object(Bucket=bucket, Key=key)["ContentLength"] for name, key in keys.items()}
    return {"original": original, **sizes}


def of_many(world: World, rounds: int, say: Callable[[str], None]) -> tuple[Figures, dict[str, float]]:
    """Measure what depends on how many pictures there are: the embedder's batches, and the API.

    Returns:
        What each message took, and the bytes of a picture in each table.
    """
    import psycopg

    from benchmarks.collection import Collection, load

    say("filling a database")
    collection = Collection(OWNERS)
    with psycopg.connect(world.loaded, autocommit=True) as connection:
        load(collection, connection)
        count = len(collection.pictures)
        sizes = {table: _size(connection, table) / count for table in (*LOADED, READ_BY_SEARCHES)}
        elsewhere = {"DATABASE_URL_PARAMETER": "/magpie/dev/loaded-url"}
        took: Figures = {"embedder": embedded(world, collection, connection, elsewhere, rounds, say)}
        took["api"] = asked(world, collection, elsewhere, rounds, say)
        return took, sizes


def embedded(
    world: World,
    collection: Any,
    connection: Any,
    elsewhere: Mapping[str, str],
    rounds: int,
    say: Callable[[str], None],
) -> Figures:
    """Measure the embedder by batches, offline and with a model's SDK."""
    example = json.loads((ROOT / "events" / "AnalysisComplete" / "v1.example.json").read_text())
    user, now = collection.users[-1], datetime.now(UTC).isoformat()
    owned = [picture.item_id for picture in collection.pictures if picture.user_id == user]
    found: Figures = {}
    for how, provider in (("offline", "offline"), ("model", "voyage")):
        worker = world.function("embedder", "Embedder", EMBEDDER=provider, **elsewhere)
        for batch in BATCHES:
            say(f"embedder, {how}, {batch} at once")
            taken = []
            for number in range(rounds + 1):
                items = owned[:batch]
                connection.execute(
                    "DELETE FROM embeddings WHERE user_id = %s AND item_id = ANY(%s)", (user, items)
                )
                connection.execute(
                    "UPDATE items SET status = 'analyzed' WHERE user_id = %s AND item_id = ANY(%s)",
                    (user, items),
                )
                connection.execute("DELETE FROM item_events WHERE user_id = %s", (user,))
                bodies = []
                for item in items:
                    about = {
                        "user_id": user,
                        "item_id": str(item),
                        "object_version": "v1",
                        "analysis_version": 1,
                    }
                    detail = {
                        "metadata": {**example["metadata"], "occurred_at": now},
                        "data": {**example["data"], **about},
                    }
                    bodies.append(json.dumps({"detail-type": "AnalysisComplete", "detail": detail}))
                figures = worker.tell(records("Embedder", bodies))
                if number:
                    taken.append(figures)
            found[f"{how}, {batch}"] = median(taken)
    return found


def asked(
    world: World,
    collection: Any,
    elsewhere: Mapping[str, str],
    rounds: int,
    say: Callable[[str], None],
) -> Figures:
    """Measure requests to the API, as the owner of many pictures and of fewer."""
    worker = world.function("api", "Api", EMBEDDER="voyage", **elsewhere)
    samples = ROOT / "events" / "samples" / "api"
    client_id = world.ref("UserPoolClient")
    questions = collection.questions(rounds + 1)
    found: dict[str, list[Figures]] = {}

    def request(sample: str, user: str, **changed: Any) -> Figures:
        event = json.loads((samples / f"{sample}.json").read_text())
        event["requestContext"]["authorizer"]["jwt"]["claims"] |= {"sub": user, "client_id": client_id}
        if "idempotency-key" in event["headers"]:
            event["headers"]["idempotency-key"] = str(uuid4())
        event |= changed
        event["requestContext"]["http"]["path"] = event["rawPath"]
        return worker.tell(event)

    say("api")
    for number in range(rounds + 1):
        for _, size in OWNERS:
            user = collection.user_of(size)
            first = next(each.item_id for each in collection.pictures if each.user_id == user)
            taken = {
                f"search, {size:,}": request("search", user, queryStringParameters={"q": questions[number]}),
                f"list, {size:,}": request("list_items", user, queryStringParameters={}),
                f"show, {size:,}": request("get_item", user, rawPath=f"/items/{first}"),
            }
            if size == OWNERS[-1][1]:
                taken["create"] = request("create_item", user)
            for name, figures in taken.items():
                if number:
                    found.setdefault(name, []).append(figures)
    return {
        name: median(each) | {"answer_bytes": len(each[-1]["answer"]["body"])} for name, each in found.items()
    }


def of_schedules(world: World, rounds: int, say: Callable[[str], None]) -> Figures:
    """Measure what runs by itself when there is nothing to do."""
    found: Figures = {}
    for folder, logical_id in (("scan_tick", "ScanTick"), ("sweeper", "Sweeper")):
        say(folder)
        worker = world.function(folder, logical_id)
        envelope = (ROOT / "events" / "samples" / folder / "schedule.json").read_text()
        taken = [worker.tell(records(logical_id, [envelope])) for _ in range(rounds + 1)]
        found[folder] = {"nothing to do": median(taken[1:])}
    return found


def median(taken: Sequence[Figures]) -> Figures:
    """Return what a message took: medians, and the most memory.

    Of the time that the database took it is the lower quarter: whatever else this machine does adds to it.
    Calls are those of the last, for a first one may have opened connections.
    """
    return {
        "cpu_ms": round(statistics.median(each["cpu_ms"] for each in taken), 1),
        "sql_ms": round(sorted(each["sql_ms"] for each in taken)[(len(taken) - 1) // 4], 1),
        "log_bytes": round(statistics.median(each["log_bytes"] for each in taken)),
        "sql": round(statistics.median(each["sql"] for each in taken)),
        "aws": taken[-1]["aws"],
        "peak_mb": round(max(each["peak_mb"] for each in taken)),
    }


def bytes_per_picture(world: World) -> dict[str, float]:
    """Return the bytes of a described picture in the tables that the stages fill, with their indexes."""
    import psycopg
    from psycopg import sql

    sizes = {}
    with psycopg.connect(world.url, autocommit=True) as connection:
        # Nobody asks what the triggers would keep.
        connection.execute("SET session_replication_role = replica")
        for table in ("analyses", "item_events", "usage_ledger", "items"):
            connection.execute(sql.SQL(NOT_DESCRIBED).format(table=sql.Identifier(table)))
        items = _one(connection, "SELECT count(*) FROM items")
        for table in COPIED:
            connection.execute(sql.SQL("VACUUM FULL {}").format(sql.Identifier(table)))
            before = _size(connection, table)
            _copy(connection, table)
            sizes[table] = (_size(connection, table) - before) / (items * COPIES)
    return sizes


def _copy(connection: Any, table: str) -> None:
    """Copy a table's rows for as many other owners."""
    from psycopg import sql

    columns = [row[0] for row in connection.execute(COLUMNS, (table,))]
    copy = sql.SQL(COPY).format(
        table=sql.Identifier(table), columns=sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    for number in range(COPIES):
        connection.execute(copy, {"number": f"{number:04}", "owner": OWNER})


def _one(connection: Any, statement: str, *values: Any) -> int:
    (found,) = connection.execute(statement, values).fetchone()
    return int(found)


def _size(connection: Any, table: str) -> int:
    return _one(connection, "SELECT pg_total_relation_size(%s)", table)


def measure(rounds: int, say: Callable[[str], None]) -> Figures:
    """Return everything that was measured."""
    from benchmarks.pictures import machine

    with ExitStack() as stack:
        world = World(stack, say)
        messages, sizes = of_pictures(world, rounds, say)
        messages |= of_schedules(world, rounds, say)
        of_requests, tables = of_many(world, rounds, say)
        messages |= of_requests
        say("bytes in the database")
        index = tables.pop(READ_BY_SEARCHES)
        tables |= bytes_per_picture(world)
    return {
        "measured": datetime.now(UTC).date().isoformat(),
        "command": "python -m benchmarks.durations --write",
        "machine": machine(),
        "rounds": rounds,
        "messages": messages,
        "object_bytes": sizes,
        "database_bytes": {
            table: round(size) for table, size in sorted(tables.items(), key=lambda each: -each[1])
        },
        "search_index_bytes": round(index),
    }


def told(found: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [found["machine"], ""]
    lines.append(f"{'':34}{'CPU ms':>8}{'SQL':>5}{'ms':>7}{'log bytes':>11}{'MB':>6}  AWS calls")
    for function, cases in found["messages"].items():
        for case, each in cases.items():
            calls = ", ".join(f"{count} {name}" for name, count in each["aws"].items())
            lines.append(
                f"{function + ', ' + case:34}{each['cpu_ms']:8.1f}{each['sql']:5}{each['sql_ms']:7.1f}"
                f"{each['log_bytes']:11}{each['peak_mb']:6}  {calls}"
            )
    lines += ["", "bytes of a described picture in the database, with indexes"]
    lines += [f"  {table:24}{size:9,}" for table, size in found["database_bytes"].items()]
    lines.append(f"  {'together':24}{sum(found['database_bytes'].values()):9,}")
    lines += ["", "bytes of its objects"]
    for size, objects in found["object_bytes"].items():
        lines.append(f"  {size:8}" + ", ".join(f"{name} {count:,}" for name, count in objects.items()))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.durations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--write", action="store_true", help="keep the figures for `magpie cost`")
    given = parser.parse_args(arguments)

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    found = measure(QUICK_ROUNDS if given.quick else ROUNDS, say)
    if given.write:
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if given.json else told(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
