"""Somebody who uses the system over HTTP, as a page or a program would."""

import json
import time
from pathlib import Path
from typing import Any

import urllib3

from tests.local.running import Running

DONE = {"ready", "rejected", "failed"}


class Person:
    """Signed in; every request carries their token."""

    def __init__(self, system: Running, email: str) -> None:
        self.system = system
        self.email = email
        self._password = "a long enough word 1"
        self.sub = system.new_user(email, self._password)
        self.sign_in(system)

    def sign_in(self, system: Running) -> None:
        self.system = system
        self._token = system.token(self.email, self._password)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:
        sent = {
            "Authorization": f"Bearer {self._token}",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        if body is not None:
            sent["Content-Type"] = "application/json"
            return self.system.request(method, path, body=json.dumps(body), headers=sent)
        return self.system.request(method, path, headers=sent)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.data
        return answer.json()

    def upload(self, file: Path | bytes, name: str = "photo.jpg", content_type: str = "image/jpeg") -> str:
        """Upload and return the item's id."""
        content = file if isinstance(file, bytes) else file.read_bytes()
        name = name if isinstance(file, bytes) else file.name
        answer = self.ask("POST", "/items", {"filename": name, "content_type": content_type})
        assert answer.status == 201, answer.data
        made = answer.json()
        form = {**made["upload"]["fields"], "file": (name, content, content_type)}
        sent = self.system.http.request("POST", made["upload"]["url"], fields=form)
        assert sent.status in (200, 201, 204), sent.data
        return str(made["item_id"])

    def wait(self, item_id: str, *until: str, seconds: float = 60) -> Any:
        """Return the item once it has reached one of these statuses."""
        wanted = set(until) or DONE
        deadline = time.monotonic() + seconds
        while (item := self.get(f"/items/{item_id}"))["status"] not in wanted:
            assert time.monotonic() < deadline, item
            assert item["status"] not in DONE, item
            time.sleep(0.05)
        return item
