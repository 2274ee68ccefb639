"""What an operator sees of a body without asking for the whole: what happened, and no person.

Ids, codes, numbers and times tell what happened. Everything else is masked, by its name where it looks like
a code and is none (a person may be called Ada), and else by what it looks like.
"""

import json
import re
from typing import Any

MASK = "…"

PERSONAL = frozenset(
    {
        "address",
        "business_name",
        "city",
        "client_secret",
        "country",
        "customer_address",
        "customer_email",
        "customer_name",
        "customer_phone",
        "description",
        "email",
        "first_name",
        "ip",
        "ip_address",
        "last_name",
        "line1",
        "line2",
        "name",
        "nickname",
        "phone",
        "postal_code",
        "sourceip",
        "state",
        "token",
        "value",
    }
)

_CODE = re.compile(r"[A-Za-z0-9_.:+-]{0,255}")


def masked(body: str) -> Any:
    """Return a body as JSON without anything that tells of a person, or what it is where it is no JSON."""
    try:
        return _masked(json.loads(body))
    except (ValueError, RecursionError):
        return MASK


def _masked(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _masked(inner, str(key).lower()) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    if value[:1] == "{":  # of SNS: a document as a text
        return masked(value)
    return value if _CODE.fullmatch(value) and name not in PERSONAL else MASK
