"""Compare two sorted streams: the keys that rows name, and the keys that a bucket holds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from uuid import UUID


@dataclass(frozen=True)
class Named:
    """An object that a row names."""

    key: str
    item_id: UUID


@dataclass(frozen=True)
class Stored:
    """An object that is there; one that is not `settled` may belong to a row that is just being written."""

    key: str
    settled: bool = True


@dataclass(frozen=True)
class Difference:
    """A key that only one side has: `missing` from the bucket, or `unknown` to the rows."""

    kind: Literal["missing", "unknown"]
    key: str
    item_id: UUID | None


def differences(named: Iterable[Named], stored: Iterable[Stored]) -> Iterator[Difference]:
    """Yield what only one of two streams has, in the order of the keys.

    Args:
        named, stored: each in the order of the keys' UTF-8 bytes, which is S3's and that of PostgreSQL's "C".
    """
    rows, objects = iter(named), iter(stored)
    row, there = next(rows, None), next(objects, None)
    while row is not None or there is not None:
        if row is not None and (there is None or row.key.encode() < there.key.encode()):
            yield Difference("missing", row.key, row.item_id)
            row = next(rows, None)
        elif there is not None and (row is None or there.key.encode() < row.key.encode()):
            if there.settled:
                yield Difference("unknown", there.key, None)
            there = next(objects, None)
        else:
            row, there = next(rows, None), next(objects, None)
