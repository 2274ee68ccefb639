"""For every route of the API, the requests that a person can make of it, with some names in them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.fakes.http_api import Answer, Caller
from tests.isolation.world import Names


@dataclass(frozen=True)
class Ask:
    """A request.

    Attributes:
        names: whether it holds ids that must be the caller's own.
        found: whether, with ids of others, it is answered as if it held none, and not with 404: a list of ids
            of which some are not there.
    """

    method: str
    path: str
    query: Any = None
    body: Any = None
    names: bool = False
    found: bool = False

    def __call__(self, caller: Caller, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return caller(self.method, self.path, self.query, body=self.body, headers=named)

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.query or ''} {self.body or ''}".strip()


def get(path: str, names: bool = False, **query: Any) -> Ask:
    return Ask("GET", path, query, names=names)


def post(path: str, body: Any = None, names: bool = False, found: bool = False) -> Ask:
    return Ask("POST", path, body=body, names=names, found=found)


PUBLIC = {
    "GET /",
    "GET /docs",
    "GET /health",
    "GET /openapi.json",
    "GET /version",
    "GET /web/<release>/<name>",
}
"""Routes that ask nobody who they are, and tell everybody the same."""

_SEARCHES = [
    {"q": "tabby cat", "mode": mode, "min_score": 0, "explain": True, **more}
    for mode in ("hybrid", "text", "vector")
    for more in ({}, {"sort": "date"}, {"category": "Animal"}, {"duplicate": True}, {"limit": 1})
]

_SCAN = {"name": "weekly", "work": {"select": {"all": True}}, "schedule": {"every": "day", "at": "03:00"}}


def _coming() -> dict[str, Any]:
    """An item that nobody has yet: ids are one person's, and whoever brings one has it."""
    item_id = str(uuid4())
    analysis = {"id": item_id, "version": 1, "summary": "a tabby cat"}
    return {"item": {"id": item_id, "filename": "cat.jpg"}, "analyses": [analysis]}


CASES: dict[str, Callable[[Names], list[Ask]]] = {
    "GET /items": lambda names: [
        get("/items"),
        get("/items", limit=1),
        get("/items", status="ready", category="Animal"),
        get("/items", duplicate="true"),
        get("/items", sort="name"),
    ],
    "POST /items": lambda names: [
        post("/items", {"filename": "cat.jpg"}),
        post("/items", {"items": [{"filename": "a.jpg"}, {"filename": "b.jpg"}]}),
    ],
    "GET /items/<item_id>": lambda names: [
        get(f"/items/{names.item}", names=True),
        get(f"/items/{names.copy}", names=True),
    ],
    "PATCH /items/<item_id>": lambda names: [
        Ask("PATCH", f"/items/{names.item}", body={"filename": "new.jpg", "category": "Dog"}, names=True),
        Ask("PATCH", f"/items/{names.item}", body={"tags": None}, names=True),
    ],
    "GET /items/<item_id>/timeline": lambda names: [
        get(f"/items/{names.item}/timeline", names=True),
        get(f"/items/{names.item}/timeline", names=True, limit=1),
    ],
    "GET /items/<item_id>/analyses": lambda names: [
        get(f"/items/{names.item}/analyses", names=True),
        get(f"/items/{names.item}/analyses", names=True, limit=1),
    ],
    "GET /items/<item_id>/similar": lambda names: [
        get(f"/items/{names.item}/similar", names=True),
        get(f"/items/{names.item}/similar", names=True, min_score=0, limit=1),
    ],
    "POST /items/<item_id>/analyze": lambda names: [
        post(f"/items/{names.item}/analyze", names=True),
        post(f"/items/{names.item}/analyze", {"provider": "offline"}, names=True),
    ],
    "POST /items/<item_id>/resize-only": lambda names: [post(f"/items/{names.item}/resize-only", names=True)],
    "POST /items/<item_id>/embed": lambda names: [post(f"/items/{names.item}/embed", names=True)],
    "GET /search": lambda names: [get("/search", **search) for search in _SEARCHES],
    "POST /search": lambda names: [post("/search", search) for search in _SEARCHES],
    "GET /duplicates": lambda names: [
        get("/duplicates"),
        get("/duplicates", limit=1),
        *(get("/duplicates", by=reason) for reason in ("exact", "perceptual", "embedding")),
    ],
    "GET /categories": lambda names: [get("/categories"), get("/categories", limit=1)],
    "GET /usage": lambda names: [get("/usage")],
    "GET /me": lambda names: [get("/me")],
    "PATCH /me": lambda names: [Ask("PATCH", "/me", body={"notifications": {"scan_complete": True}})],
    "GET /me/erasure": lambda names: [get("/me/erasure")],
    "GET /export": lambda names: [get("/export", wait=0)],
    "GET /runs": lambda names: [get("/runs"), get("/runs", limit=1)],
    "GET /runs/<run_id>": lambda names: [get(f"/runs/{names.run}", names=True)],
    "GET /runs/<run_id>/history": lambda names: [get(f"/runs/{names.run}/history", names=True)],
    "POST /runs/<run_id>/cancel": lambda names: [post(f"/runs/{names.run}/cancel", names=True)],
    "POST /items/reprocess": lambda names: [
        post("/items/reprocess", {"select": {"all": True}, "dry_run": True}),
        post("/items/reprocess", {"select": {"ids": [names.item, names.copy]}}, names=True, found=True),
        post("/items/reprocess", {"select": {"failed_in": names.run}}, names=True, found=True),
    ],
    "POST /failed/replay": lambda names: [
        post("/failed/replay", {}),
        post("/failed/replay", {"run_id": names.run}, names=True),
    ],
    "POST /vector-index/rebuild": lambda names: [post("/vector-index/rebuild")],
    "GET /scans": lambda names: [get("/scans"), get("/scans", limit=1)],
    "POST /scans": lambda names: [
        post("/scans", _SCAN),
        post("/scans", {**_SCAN, "work": {"select": {"ids": [names.item]}}}, names=True, found=True),
    ],
    "GET /scans/<scan_id>": lambda names: [get(f"/scans/{names.scan}", names=True)],
    "PATCH /scans/<scan_id>": lambda names: [
        Ask("PATCH", f"/scans/{names.scan}", body={"name": "new", "enabled": False}, names=True)
    ],
    "GET /scans/<scan_id>/runs": lambda names: [
        get(f"/scans/{names.scan}/runs", names=True),
        get(f"/scans/{names.scan}/runs", names=True, limit=1),
    ],
    "POST /scans/<scan_id>/run": lambda names: [post(f"/scans/{names.scan}/run", names=True)],
    "DELETE /scans/<scan_id>": lambda names: [Ask("DELETE", f"/scans/{names.scan}", names=True)],
    "GET /imports": lambda names: [get("/imports"), get("/imports", limit=1)],
    "POST /imports": lambda names: [post("/imports", {"fingerprint": "5e" * 32, "name": "a.db"})],
    "GET /imports/<import_id>": lambda names: [get(f"/imports/{names.imported}", names=True)],
    "GET /imports/<import_id>/items": lambda names: [
        get(f"/imports/{names.imported}/items", names=True),
        get(f"/imports/{names.imported}/items", names=True, limit=1),
    ],
    "POST /imports/<import_id>/items": lambda names: [
        post(f"/imports/{names.imported}/items", {"items": [_coming()]}, names=True),
        post(f"/imports/{names.imported}/items", {"items": [_coming(), _coming()]}, names=True),
    ],
    "POST /imports/<import_id>/undo": lambda names: [post(f"/imports/{names.imported}/undo", names=True)],
    "POST /billing/checkout": lambda names: [post("/billing/checkout", {"tier": "plus"})],
    "POST /billing/portal": lambda names: [post("/billing/portal")],
    "DELETE /items/<item_id>": lambda names: [Ask("DELETE", f"/items/{names.copy}", names=True)],
    "DELETE /me": lambda names: [Ask("DELETE", "/me", {"wait": 0})],
}
"""By route, in an order in which one person can make them all: what ends something comes last."""

READS = [route for route in CASES if route.startswith("GET ") or route == "POST /search"]
"""Routes that change nothing, but for an export that is begun where there is none."""
