"""The API's client: bounded waits, polite repetition, answers checked before they are believed."""

import re
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar
from urllib.parse import quote

import httpx2
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from cli.errors import CommandError
from cli.session import Session, signed_out
from cli.target import Target, not_running

ATTEMPTS = 7
"""Tries of a request that may be repeated: with the waits between them about a minute."""
LONGEST_WAIT = 20.0
"""Seconds between two tries, whatever the server asks for."""
TIMEOUT = httpx2.Timeout(connect=5, read=35, write=35, pool=60)
"""Seconds. An HTTP API ends a request after 30."""
OBJECT_TIMEOUT = httpx2.Timeout(connect=10, read=120, write=60, pool=60)
"""Seconds, for originals and derivatives; a slow line is fine as long as something moves."""
PAGE = 100
"""Items that are asked for at once."""

PASSING = {429, 502, 503, 504}
"""Answers that come from load or from a restart, and pass."""
OVER_QUOTA = "over_quota"
"""The one problem with status 429 that does not pass by itself in a moment."""

T = TypeVar("T")


class ApiError(CommandError):
    """The API did not do what was asked.

    Attributes:
        status: of the HTTP answer, or 0 when none came.
    """

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(code, message)
        self.status = status


class UnreachableError(ApiError):
    """No answer came, or only that the server is too busy, however often it was asked."""


class UploadError(CommandError):
    """The storage did not take a file."""


class _AgainError(Exception):
    """One try failed in a way that may pass; `after` is the wait that the server asked for, in seconds."""

    def __init__(self, failure: CommandError, after: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.after = after


class Api:
    """One Magpie's API, as one signed-in user. Safe to use from several threads.

    Args:
        session: None where nobody needs to be signed in.
        attempts: tries of a request before it counts as failed.
        pause: how to wait between two tries; tests pass their own.
    """

    def __init__(
        self,
        target: Target,
        session: Session | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.target = target
        self._session = session
        self._attempts = attempts
        self._pause = pause
        self._ever_answered = False
        self._http = httpx2.Client(
            timeout=TIMEOUT,
            # A proxy from the environment cannot reach what listens on this machine only.
            trust_env=not target.on_this_machine,
            headers={"User-Agent": "magpie-cli"},
        )

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # What the API offers

    def version(self) -> dict[str, Any]:
        """`GET /version`: what runs there and where its users sign in; needs no token."""
        return self._get("/version", signed=False)

    def health(self) -> dict[str, Any]:
        """`GET /health`, needs no token. A Magpie that is not well raises as any 503 does."""
        return self._get("/health", signed=False)

    def new_item(self, filename: str, size: int, key: str) -> dict[str, Any]:
        """`POST /items`: an item and the permission to upload its original.

        Args:
            key: the Idempotency-Key. However often the request is repeated, it makes one item.
        """
        # Of an empty file no size is told: the API would refuse to make an item that can be rejected.
        body = {"filename": filename, **({"size": size} if size else {})}
        answer = self._request("POST", "/items", json=body, headers={"Idempotency-Key": key})
        upload = answer.get("upload")
        if not isinstance(answer.get("item_id"), str) or not isinstance(upload, dict) or "url" not in upload:
            raise _nonsense("/items")
        return answer

    def items(
        self, *, limit: int = PAGE, cursor: str | None = None, status: str | None = None
    ) -> dict[str, Any]:
        """`GET /items`: one page, newest first."""
        parameters = {"limit": str(limit), "cursor": cursor, "status": status}
        answer = self._get("/items", params={name: value for name, value in parameters.items() if value})
        if not isinstance(answer.get("items"), list):
            raise _nonsense("/items")
        return answer

    def pages(self, *, status: str | None = None, size: int = PAGE) -> Iterator[list[dict[str, Any]]]:
        """All items, page by page, newest first."""
        cursor: str | None = None
        while True:
            page = self.items(limit=size, cursor=cursor, status=status)
            yield page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def item(self, item_id: str) -> dict[str, Any]:
        """`GET /items/{id}`: the item with its analysis, timeline and views."""
        return self._get(f"/items/{quote(item_id, safe='')}")

    def search(self, query: str, limit: int) -> dict[str, Any]:
        """`GET /search`: the best hits, best first."""
        answer = self._get("/search", params={"q": query, "limit": str(limit)})
        if not isinstance(answer.get("hits"), list):
            raise _nonsense("/search")
        return answer

    def timed_search(self, query: str, mode: str, limit: int) -> tuple[dict[str, Any], float]:
        """`POST /search`: the answer, and the milliseconds that it took, without the tries that failed."""
        took = 0.0

        def heard(response: httpx2.Response) -> None:
            nonlocal took
            took = response.elapsed.total_seconds() * 1000

        asked = {"q": query, "mode": mode, "limit": limit}
        answer = self._request("POST", "/search", json=asked, heard=heard)
        hits = answer.get("hits")
        if not isinstance(hits, list) or not all(isinstance(hit, dict) and "item_id" in hit for hit in hits):
            raise _nonsense("/search")
        return answer, took

    def analyses(self, item_id: str) -> Iterator[dict[str, Any]]:
        """`GET /items/{id}/analyses`: every version of an item's analysis, newest first."""
        for page in self._pages(f"/items/{quote(item_id, safe='')}/analyses", "analyses", PAGE):
            yield from page["analyses"]

    # Runs and scans

    def reprocess(self, asked: dict[str, Any], key: str) -> dict[str, Any]:
        """`POST /items/reprocess`: a run of these stages over these items, or its estimate.

        Args:
            key: the Idempotency-Key. However often the request is repeated, it starts one run.
        """
        headers = {"Idempotency-Key": key}
        return _run(self._request("POST", "/items/reprocess", json=asked, headers=headers))

    def run(self, run_id: str) -> dict[str, Any]:
        """`GET /runs/{id}`: how a run stands."""
        return _run(self._get(f"/runs/{quote(run_id, safe='')}"))

    def run_history(self, run_id: str) -> dict[str, Any]:
        """`GET /runs/{id}/history`: what the state machine did in it."""
        return self._get(f"/runs/{quote(run_id, safe='')}/history")

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """`POST /runs/{id}/cancel`: the run as it stands then. Harmless to repeat."""
        return _run(self._request("POST", f"/runs/{quote(run_id, safe='')}/cancel"))

    def run_pages(self, *, size: int = PAGE) -> Iterator[list[dict[str, Any]]]:
        """All runs, page by page, newest first."""
        for page in self._pages("/runs", "runs", size):
            yield page["runs"]

    def scan_pages(self, *, size: int = PAGE) -> Iterator[list[dict[str, Any]]]:
        """All scans, page by page, newest first."""
        for page in self._pages("/scans", "scans", size):
            yield page["scans"]

    def scan(self, scan_id: str) -> dict[str, Any]:
        """`GET /scans/{id}`."""
        return self._get(f"/scans/{quote(scan_id, safe='')}")

    def create_scan(self, scan: dict[str, Any], key: str) -> dict[str, Any]:
        """`POST /scans`: however often the request with this Idempotency-Key is repeated, one scan."""
        return self._request("POST", "/scans", json=scan, headers={"Idempotency-Key": key})

    def change_scan(self, scan_id: str, change: dict[str, Any]) -> dict[str, Any]:
        """`PATCH /scans/{id}`: the scan as it is then."""
        return self._request("PATCH", f"/scans/{quote(scan_id, safe='')}", json=change)

    def delete_scan(self, scan_id: str) -> None:
        """`DELETE /scans/{id}`: it is gone, whether by this request or by the one before."""
        try:
            self._request("DELETE", f"/scans/{quote(scan_id, safe='')}")
        except ApiError as error:
            if error.status != 404:
                raise

    def run_scan(self, scan_id: str, key: str) -> dict[str, Any]:
        """`POST /scans/{id}/run`: the one run that is started by requests with this Idempotency-Key."""
        path = f"/scans/{quote(scan_id, safe='')}/run"
        return _run(self._request("POST", path, headers={"Idempotency-Key": key}))

    def scan_runs(self, scan_id: str, *, size: int = PAGE) -> Iterator[dict[str, Any]]:
        """`GET /scans/{id}/runs`: runs page by page, newest first, each page with the scan's `trend`."""
        return self._pages(f"/scans/{quote(scan_id, safe='')}/runs", "runs", size)

    # Imports

    def begin_import(self, fingerprint: str, name: str) -> dict[str, Any]:
        """`POST /imports`: the one import of the source with this fingerprint."""
        answer = self._request("POST", "/imports", json={"fingerprint": fingerprint, "name": name})
        if not isinstance(answer.get("import_id"), str):
            raise _nonsense("/imports")
        return answer

    def get_import(self, import_id: str) -> dict[str, Any]:
        """`GET /imports/{id}`: how an import stands."""
        return self._get(f"/imports/{quote(import_id, safe='')}")

    def import_pages(self) -> Iterator[list[dict[str, Any]]]:
        """All imports, page by page, newest first."""
        for page in self._pages("/imports", "imports", PAGE):
            yield page["imports"]

    def add_import_items(self, import_id: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """`POST /imports/{id}/items`: what became of each row. The second time it is there already."""
        path = f"/imports/{quote(import_id, safe='')}/items"
        answer = self._request("POST", path, json={"items": rows}).get("items")
        if not isinstance(answer, list) or len(answer) != len(rows):
            raise _nonsense(path)
        return answer

    def import_items(self, import_id: str) -> Iterator[list[dict[str, Any]]]:
        """`GET /imports/{id}/items`: what an import brought, page by page."""
        for page in self._pages(f"/imports/{quote(import_id, safe='')}/items", "items", PAGE):
            yield page["items"]

    def undo_import(self, import_id: str) -> dict[str, Any]:
        """`POST /imports/{id}/undo`: some of it is gone; to be repeated until nothing is left."""
        return self._request("POST", f"/imports/{quote(import_id, safe='')}/undo")

    def usage(self, parameters: dict[str, str]) -> dict[str, Any]:
        """`GET /usage`: what was spent and stored in a period, and how much may be.

        Args:
            parameters: `month`, or `from` and `to`; none for this month.
        """
        answer = self._get("/usage", params=parameters)
        if not {"totals", "by_day", "storage", "limits"} <= answer.keys():
            raise _nonsense("/usage")
        return answer

    def me(self) -> dict[str, Any]:
        """`GET /me`: who asks, how much they may, and what they are written to about."""
        return self._account(self._get("/me"))

    def change_me(self, change: dict[str, Any]) -> dict[str, Any]:
        """`PATCH /me`: the caller as they are then."""
        return self._account(self._request("PATCH", "/me", json=change))

    def _account(self, answer: dict[str, Any]) -> dict[str, Any]:
        if not {"user_id", "email", "notifications", "sends_mail"} <= answer.keys():
            raise _nonsense("/me")
        return answer

    def export(self, *, fresh: bool) -> dict[str, Any]:
        """`GET /export`: how the copy of everything stands.

        Args:
            fresh: whether a new one is to be made, although the last is not old.
        """
        answer = self._get("/export", params={"fresh": str(fresh).lower(), "wait": "0"})
        if answer.get("status") not in ("running", "succeeded", "failed"):
            raise _nonsense("/export")
        return answer

    # Files

    def upload(self, upload: dict[str, Any], file: IO[bytes]) -> None:
        """Send an original by the presigned POST of `new_item`, read piece by piece.

        Raises:
            UploadError: the storage refuses it; `code` is `too_large` or `empty` when it says so.
            CommandError: the storage cannot be reached.
        """

        def attempt() -> None:
            response = self._http.post(
                upload["url"],
                timeout=OBJECT_TIMEOUT,
                # S3 sends uploads to a young bucket on to the bucket's region.
                follow_redirects=True,
                data=upload.get("fields") or {},
                # S3 wants the file last, and httpx2 puts files after data.
                files={"file": ("original", file, "application/octet-stream")},
            )
            if response.status_code in PASSING | {500}:
                raise _AgainError(
                    UploadError("upload_failed", f"The storage answered {response.status_code}."),
                    _retry_after(response),
                )
            if not response.is_success:
                raise _storage_refusal(response)

        self._repeatedly(attempt, where="storage")

    def download(self, url: str) -> bytes:
        """Return what a presigned view URL shows, for derivatives, which are small."""

        def attempt() -> bytes:
            response = self._http.get(url, timeout=OBJECT_TIMEOUT)
            if response.status_code in PASSING | {500}:
                raise _AgainError(
                    ApiError("download_failed", f"The storage answered {response.status_code}.")
                )
            if not response.is_success:
                raise ApiError(
                    "download_failed", f"The storage answered {response.status_code}.", response.status_code
                )
            return response.content

        return self._repeatedly(attempt, where="storage")

    def fetch(self, url: str, file: IO[bytes]) -> None:
        """Write what a presigned URL shows to a file, piece by piece, from its beginning with each try."""

        def attempt() -> None:
            file.seek(0)
            file.truncate()
            with self._http.stream("GET", url, timeout=OBJECT_TIMEOUT) as response:
                if response.status_code in PASSING | {500}:
                    raise _AgainError(
                        ApiError("download_failed", f"The storage answered {response.status_code}.")
                    )
                if not response.is_success:
                    said = f"The storage answered {response.status_code}."
                    raise ApiError("download_failed", said, response.status_code)
                for piece in response.iter_raw(1 << 20):
                    file.write(piece)

        self._repeatedly(attempt, where="storage")

    # How it is asked

    def _pages(self, path: str, name: str, size: int) -> Iterator[dict[str, Any]]:
        """The pages of a list, each a dictionary that holds a list of this name."""
        cursor: str | None = None
        while True:
            params = {"limit": str(size), **({"cursor": cursor} if cursor else {})}
            page = self._get(path, params=params)
            if not isinstance(page.get(name), list):
                raise _nonsense(path)
            yield page
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def _get(self, path: str, *, params: dict[str, Any] | None = None, signed: bool = True) -> dict[str, Any]:
        return self._request("GET", path, params=params, signed=signed)

    def _request(
        self,
        method: str,
        path: str,
        *,
        signed: bool = True,
        headers: dict[str, str] | None = None,
        heard: Callable[[httpx2.Response], None] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Ask, and ask again while that may help. Only for requests that may be repeated.

        Args:
            heard: is given the response that is believed.

        Raises:
            ApiError: the API refuses, fails, or answers nonsense.
            UnreachableError: it does not answer.
            CommandError: `signed_out`, `not_running`.
        """
        refused: set[str] = set()

        def attempt() -> dict[str, Any]:
            token = self._session.access_token() if signed and self._session else None
            response = self._send(method, path, token, headers, arguments)
            if response.status_code == 401 and token and token not in refused:
                refused.add(token)
                token = self._session.another_token(token) if self._session else None
                response = self._send(method, path, token, headers, arguments)
            self._ever_answered = True
            kind = _kind(_problem(response))
            # What does not fit does not fit a moment later either. In progress: by a try of ours that we
            # gave up waiting for.
            if kind != OVER_QUOTA and (response.status_code in PASSING or kind == "request_in_progress"):
                raise _AgainError(self._refusal(response, path), _retry_after(response))
            if not response.is_success:
                raise self._refusal(response, path)
            if heard is not None:
                heard(response)
            if response.status_code == 204:
                return {}
            try:
                answer = response.json(parse_constant=lambda _: None)
            except (ValueError, RecursionError):
                raise _nonsense(path) from None
            if not isinstance(answer, dict):
                raise _nonsense(path)
            return answer

        return self._repeatedly(attempt, where="API")

    def _send(
        self,
        method: str,
        path: str,
        token: str | None,
        headers: dict[str, str] | None,
        arguments: dict[str, Any],
    ) -> httpx2.Response:
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        url = self.target.api_url + path
        return self._http.request(method, url, headers={**(headers or {}), **authorization}, **arguments)

    def _repeatedly(self, attempt: Callable[[], T], where: str) -> T:
        def guarded() -> T:
            try:
                return attempt()
            except httpx2.ConnectError as error:
                if where == "API" and not self._ever_answered:
                    # Nothing listens there: waiting a minute would tell nobody anything new.
                    raise self._nobody_there() from None
                raise _AgainError(self._silent(where, error)) from None
            except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                raise _AgainError(self._silent(where, error)) from None
            except httpx2.HTTPError as error:
                raise self._silent(where, error) from None

        retrying = Retrying(
            retry=retry_if_exception_type(_AgainError),
            stop=stop_after_attempt(self._attempts),
            wait=_wait,
            sleep=self._pause,
            reraise=True,
        )
        try:
            return retrying(guarded)
        except _AgainError as error:
            raise error.failure from None

    def _nobody_there(self) -> CommandError:
        if self.target.stack is not None:
            return not_running()
        return UnreachableError("unreachable", f"Nothing answers at {self.target.api_url}.")

    def _silent(self, where: str, error: Exception) -> UnreachableError:
        address = self.target.api_url if where == "API" else "the storage"
        kind = "in time" if isinstance(error, httpx2.TimeoutException) else f"({type(error).__name__})"
        return UnreachableError("unreachable", f"No answer came from {address} {kind}.")

    def _refusal(self, response: httpx2.Response, path: str) -> ApiError:
        problem = _problem(response)
        status = response.status_code
        says = str(problem.get("detail") or problem.get("title") or problem.get("message") or "").strip()
        if status == 401:
            return ApiError("signed_out", signed_out(self.target.api_url).message, status)
        if status == 404:
            return ApiError("not_found", says or f"{self.target.api_url} knows no {path}.", status)
        if _kind(problem) == OVER_QUOTA:
            return ApiError(OVER_QUOTA, says or "There is no room left for that.", status)
        if status == 429 or status == 503:
            checks = problem.get("checks")
            ailing = (
                [f"its {name} fails" for name, state in checks.items() if state != "ok"]
                if isinstance(checks, dict)
                else []
            )
            message = f"The API is too busy or not well: {says or ', '.join(ailing) or status}"
            return UnreachableError("busy", message.rstrip(".") + ".", status)
        if status >= 500:
            trace = problem.get("correlation_id")
            hint = f" (correlation id {trace})" if trace else ""
            return ApiError("server_error", f"The API failed: {says or status}{hint}", status)
        wrong = [
            f"{each['field']}: {each['message']}".removeprefix("body.") for each in _field_errors(problem)
        ]
        message = "; ".join(wrong) or says or f"The API answered {status}."
        return ApiError(_kind(problem) or "refused", message, status)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _AgainError) and error.after is not None:
        return min(error.after, LONGEST_WAIT)
    # Full jitter, so that several commands do not come back together.
    return wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)(state)


def _retry_after(response: httpx2.Response) -> float | None:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if re.fullmatch(r"\d{1,6}(\.\d+)?", asked) else None


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _kind(problem: dict[str, Any]) -> str:
    """Return the end of a problem's `type`, which never changes, as one of our codes."""
    kind = str(problem.get("type") or "").rpartition(":")[2]
    return kind.replace("-", "_") if re.fullmatch(r"[a-z-]{1,40}", kind) else ""


def _field_errors(problem: dict[str, Any]) -> list[dict[str, Any]]:
    errors = problem.get("errors")
    return (
        [each for each in errors if isinstance(each, dict) and {"field", "message"} <= each.keys()]
        if isinstance(errors, list)
        else []
    )


def _run(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that has to be a run."""
    if not (isinstance(answer.get("run_id"), str) and isinstance(answer.get("status"), str)):
        raise _nonsense("/runs")
    return answer


def _nonsense(path: str) -> ApiError:
    return ApiError("bad_answer", f"What answered {path} is not Magpie's API, or of another version.")


def _storage_refusal(response: httpx2.Response) -> UploadError:
    """Read S3's error document as far as it is needed here."""
    found = re.search(r"<Code>(\w{1,60})</Code>", response.text[:10_000])
    code = found.group(1) if found else str(response.status_code)
    if code == "EntityTooLarge":
        return UploadError("too_large", "The file is larger than an upload may be.")
    if code == "EntityTooSmall":
        return UploadError("empty", "The file is empty.")
    return UploadError("upload_failed", f"The storage refused the file: {code}.")
