"""Users of the local Cognito survive the stack: the same people with the same `sub`, so the same pictures.

moto keeps passwords as they are typed, and so does DATA/users.json, readable by its owner only. Pools and
clients get the same ids at every start, so that a token outlives a restart.
"""

import hashlib
import json
import secrets
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from local.files import write_secretly
from local.patches import Patches

READS = ("Get", "List", "Describe", "AdminGet", "AdminList", "InitiateAuth", "AdminInitiateAuth")
KEPT = ("id", "username", "password", "status", "enabled", "attributes")
MFA = ("software_token_mfa_enabled", "token_verified", "preferred_mfa_setting")


class UserStore:
    """The users of every pool, on disk."""

    def __init__(self, path: Path, account: str, region: str) -> None:
        self.path = path
        self.account = account
        self.region = region
        self._lock = threading.Lock()
        self._saved = ""
        self._loaded = False

    @property
    def pools(self) -> list[Any]:
        """Every user pool of moto."""
        from moto.cognitoidp.models import cognitoidp_backends

        return list(cognitoidp_backends[self.account][self.region].user_pools.values())

    def install(self, patches: Patches) -> None:
        """Have moto name pools and clients the same at every start."""
        from moto.cognitoidp import models

        seen: Counter[str] = Counter()

        def generate_id(_: Any, *what: Any) -> str:
            # Of what a pool or client is called, not of how it is set up: a client knows the page's address,
            # whose port may be another one at every start.
            names = [part for part in what if isinstance(part, str)]
            names += [str(part.get("ClientName")) for part in what if isinstance(part, dict)]
            text = json.dumps(names)
            seen[text] += 1
            digest = hashlib.sha256(f"{text} {seen[text]}".encode()).hexdigest()
            # A pool's id has nine characters after the region, a client's has 26.
            return digest[:9] if str(what[0]) == self.region else digest[:26]

        patches.replace(models, "generate_id", generate_id)

    def load(self) -> None:
        """Give moto the users that earlier runs have kept."""
        from moto.cognitoidp.models import CognitoIdpUser, UserStatus
        from moto.cognitoidp.utils import flatten_attrs

        self._loaded = True
        if not self.path.exists():
            return
        kept = json.loads(self.path.read_text(encoding="utf-8"))
        for pool in self.pools:
            for entry in kept.get(pool.name, []):
                user = CognitoIdpUser(
                    user_pool_id=pool.id,
                    username=entry["username"],
                    password=entry["password"],
                    status=UserStatus(entry["status"]),
                    attributes=entry["attributes"],
                )
                user.id = entry["id"]
                user.enabled = entry["enabled"]
                user.attributes = entry["attributes"]
                user.attribute_lookup = flatten_attrs(entry["attributes"])
                for name in MFA:
                    setattr(user, name, entry.get(name, getattr(user, name)))
                pool.users[user.username] = user

    def save(self) -> None:
        """Write down every user, if anything has changed."""
        if not self._loaded:
            return  # the pool is only just being made
        with self._lock:
            users = {
                pool.name: [
                    {name: getattr(user, name) for name in KEPT + MFA} for user in list(pool.users.values())
                ]
                for pool in self.pools
            }
            text = json.dumps(users, indent=1)
            if text != self._saved:
                write_secretly(self.path, text)
                self._saved = text

    def first(self, pool_id: str, email: str) -> dict[str, str]:
        """Return the user of this address with their password and sub, made when they are new."""
        from moto.cognitoidp.models import cognitoidp_backends

        backend = cognitoidp_backends[self.account][self.region]
        user = next(
            (user for user in backend.user_pools[pool_id].users.values() if _email(user) == email), None
        )
        if user is None:
            # 96 random bits, and one character of each kind that a pool may ask for.
            password = f"{secrets.token_hex(12)}aZ7-"
            attributes = [{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}]
            user = backend.admin_create_user(pool_id, email, "SUPPRESS", password, attributes)
            backend.admin_set_user_password(pool_id, email, password, True)
            self.save()
        return {"email": email, "password": str(user.password), "sub": user.id}


def changes(action: str) -> bool:
    """Whether a Cognito action may change a user."""
    return not action.startswith(READS)


def _email(user: Any) -> str | None:
    found: list[str] = [entry["Value"] for entry in user.attributes if entry["Name"] == "email"]
    return found[0] if found else None
