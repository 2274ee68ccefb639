"""How large the database is by how many pictures there are, and which machine holds it."""

from dataclasses import dataclass

from cli.costs import data
from cli.costs.bill import GB, HOURS_A_MONTH

GIB = 2**30
CONNECTION_BYTES, MOST_CONNECTIONS = 9_531_392, 5000
"""RDS allows so many connections as its memory has such pieces, up to a limit:
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html#RDS_Limits.MaxConnections"""
CACHED = 0.5
"""Share of a machine's memory that holds what searches read."""
PER_RUN_ITEM, FOR_THE_API = 5, 50
"""Connections: of an item of a run at most (docs/operations.md), and of people's requests."""


@dataclass(frozen=True)
class Machine:
    """A machine of RDS."""

    name: str
    memory_gb: int
    usd_month: float

    @property
    def connections(self) -> int:
        """The most connections that it takes by default."""
        return min(self.memory_gb * GIB // CONNECTION_BYTES, MOST_CONNECTIONS)


def size_bytes(items: int) -> float:
    """Return the bytes of all tables with their indexes."""
    return items * float(sum(data.read("measured")["database_bytes"].values()))


def read_by_searches_bytes(items: int) -> float:
    """Return the bytes that have to be in memory: vectors and words of those who search in a day."""
    measured = data.read("measured")
    tables = measured["database_bytes"]
    each = measured["search_index_bytes"] + tables["search_documents"] + tables["search_words"]
    return items * data.assumed("searched_share") * float(each)


def machines() -> list[Machine]:
    """Return the machines with a price, the smallest first."""
    return [
        Machine(each["name"], each["memory_gb"], each["usd_hour"] * HOURS_A_MONTH)
        for each in data.read("prices")["rds"]["machines"]
    ]


def fitting(items: int, run_concurrency: int) -> Machine | None:
    """Return the smallest machine with the memory and the connections; None where none is large enough."""
    wanted = data.stack().connections + PER_RUN_ITEM * run_concurrency + FOR_THE_API
    for machine in machines():
        if machine.memory_gb * GIB * CACHED >= read_by_searches_bytes(items) and (
            machine.connections >= wanted or machine.connections == MOST_CONNECTIONS
        ):
            return machine
    return None


def storage_usd(items: int) -> float:
    """Return what the database's storage costs a month: twice what is in it, for growth and for its log."""
    least = float(data.read("prices")["rds"]["least_gb"])
    return max(2 * size_bytes(items) / GB, least) * data.price("rds_gb_month")
