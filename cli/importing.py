"""`magpie import`: bring a collection that is elsewhere, or take back what an import brought."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, UsageError
from cli.options import ApiUrl, Data, Json

if TYPE_CHECKING:
    from cli.client import Api
    from cli.importer.reconciliation import Reconciliation
    from cli.importer.rows import Reader
    from cli.importer.scratch import Scratch
    from cli.output import Output


def import_collection(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="SOURCE", help="A SQLite database, or a JSON export.", show_default=False),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder that the rows' paths begin in. Default: the folder of SOURCE.",
            show_default=False,
            exists=True,
            file_okay=False,
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Sizes and checksums to compare images with.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on, without reading again the images that are there.")
    ] = False,
    without_images: Annotated[
        bool, typer.Option("--without-images", help="Import items also where their image is missing.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once everything is sent.")] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Stop waiting when nothing happens for so long.")
    ] = 600,
    undo: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Delete exactly what this import brought.", show_default=False),
    ] = None,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Bring a collection: items with their images, what was said of them, and their vectors.

    Nothing that was said is paid for again. Stopped at any point, the same command does the rest. Rows that
    cannot be taken keep no other back; they are listed, and make it exit 1.
    """
    from cli.output import Output

    out = Output(json)
    if (source is None) == (undo is None):
        raise UsageError("Say either what to import, or which import to undo.")
    if undo is not None:
        return _undo(out, undo, data, api_url)
    assert source is not None  # noqa: S101 - see above
    return _Import(out, source, images, manifest, without_images, data, api_url).run(
        dry_run=dry_run, resume=resume, wait=not no_wait, patience=timeout
    )


class _Import:
    """One run of the command."""

    def __init__(
        self,
        out: "Output",
        source: Path,
        images: Path | None,
        manifest: Path | None,
        without_images: bool,
        data: Path | None,
        api_url: str | None,
    ) -> None:
        from cli.watching import Again

        self._out = out
        self._source = source
        self._folder = (images or source.parent).resolve()
        self._manifest = manifest
        self._without_images = without_images
        self._data, self._api_url = data, api_url
        self._again = Again(data, api_url)
        self._started = time.monotonic()
        self._run: str | None = None

    def run(
        self,
        *,
        dry_run: bool,
        resume: bool,
        wait: bool,
        patience: float,
    ) -> int:
        from cli.connect import connect
        from cli.importer import images
        from cli.importer.reconciliation import Reconciliation
        from cli.importer.scratch import Scratch

        if not self._source.exists():
            raise CommandError("no_source", f"There is no file {self._source}.")
        self._out.step(f"reading {self._source.name}")
        with Scratch.of(self._source) as scratch:
            if self._manifest is not None:
                scratch.add_manifest(images.read_manifest(self._manifest))
            if dry_run:
                self._judge(scratch)
                return self._tell(Reconciliation(scratch), dry_run=True, waited=False)
            with connect(self._data, self._api_url) as api:
                try:
                    account = self._send(api, scratch, resume, wait, patience)
                except KeyboardInterrupt:
                    raise self._stopped("interrupted", "Interrupted.", 130) from None
                except CommandError as error:
                    raise self._stopped(error.code, error.message, error.exit_code) from error
            return self._tell(account, dry_run=False, waited=wait)

    def _reader(self, scratch: "Scratch", model: str | None) -> "Reader":
        from cli.importer.rows import Reader

        reader = Reader(scratch, self._folder, self._manifest is not None, self._without_images, model)
        reader.orphans()
        return reader

    def _judge(self, scratch: "Scratch") -> None:
        from cli.importer.progress import Progress

        with Progress(self._out, "Reading", scratch.count("items")) as progress:
            reader = self._reader(scratch, None)
            for kept in scratch.rows("items"):
                reader.read(kept)
                progress.went(1)

    def _send(
        self, api: "Api", scratch: "Scratch", resume: bool, wait: bool, patience: float
    ) -> "Reconciliation":
        from cli.importer.progress import Progress
        from cli.importer.reconciliation import Reconciliation
        from cli.importer.sending import Sending

        begun = api.begin_import(scratch.fingerprint, self._source.name[:255])
        self._run = str(begun["import_id"])
        if resume and not begun["items"]["total"]:
            self._out.note("Nothing of it was imported yet: it begins now.")
        total = scratch.count("items")
        with Progress(self._out, "Sending", total, "Finishing" if wait else "") as progress:
            sending = Sending(api, scratch, self._run, progress, patience)
            if resume:
                sending.remember()
            sending.send(self._reader(scratch, begun.get("embedding_model")))
            if not wait:
                return Reconciliation(scratch)
            sending.wait()
            return Reconciliation(scratch, sending.verify())

    def _stopped(self, code: str, message: str, exit_code: int) -> CommandError:
        if self._run is None:
            return CommandError(code, message, exit_code=exit_code)
        undo = self._again(f"import --undo {self._run[:8]}")
        more = f"{message} The same command goes on where it stopped; {undo} takes it back."
        return CommandError(code, more, exit_code=exit_code, more={"run": self._run})

    def _tell(self, account: "Reconciliation", *, dry_run: bool, waited: bool) -> int:
        from cli.output import duration

        well = account.balances and not account.failed
        seconds = time.monotonic() - self._started
        if self._out.as_json:
            self._out.document(
                {
                    "run": self._run,
                    "dry_run": dry_run,
                    "waited": waited,
                    **account.document(),
                    "seconds": round(seconds, 2),
                }
            )
            return 0 if well else 1
        account.show(self._out, dry_run=dry_run)
        took = duration(seconds * 1000)
        if self._run is None:
            self._out.note(f"Nothing was sent. Read in {took}.")
        else:
            self._out.line("")
            self._out.line(f"Run {self._run}, {took}.")
            self._out.note(f"To take it back: {self._again(f'import --undo {self._run[:8]}')}")
        return 0 if well else 1


def _undo(out: "Output", run: str, data: Path | None, api_url: str | None) -> int:
    from cli.connect import connect
    from cli.ids import resolve
    from cli.importer.progress import Progress
    from cli.importer.sending import undo
    from cli.output import listed

    with connect(data, api_url) as api, Progress(out, "Removing", 0) as progress:
        pages = ([each["import_id"] for each in page] for page in api.import_pages())
        (import_id,) = resolve([run], pages, "import")
        removed = undo(api, import_id, progress)
    document: dict[str, Any] = {"run": import_id, "removed": removed}
    if out.as_json:
        out.document(document)
    else:
        out.line(f"{listed(removed, 'item')} removed.")
    return 0
