"""Which memory each function should have, by what was measured of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from cli.costs import bill, data, memory, pictures
from cli.costs.memory import Work


@dataclass(frozen=True)
class Advice:
    """One kind of message to a function.

    Attributes:
        peak_mb: the most memory that was measured.
        least_mb: what it must have; `why` says it where that is not what was measured.
        cheapest_mb: of at least that.
    """

    name: str
    case: str
    work: Work
    peak_mb: int
    template_mb: int
    least_mb: int
    cheapest_mb: int
    why: str

    @property
    def saved_usd(self) -> float:
        """What an invocation costs less with the cheapest memory."""
        return self.work.usd(self.template_mb) - self.work.usd(self.cheapest_mb)


def advice(megapixels: float, seconds: float) -> list[Advice]:
    """Return what is to be said of every function that was measured.

    Args:
        seconds: that the model takes to describe a picture.
    """
    known, found = data.read("functions")["functions"], []
    for name, case, work, peak in _measured(megapixels, seconds):
        least = max(memory.least_mb(peak), known[name].get("least_mb", 0))
        found.append(
            Advice(
                name,
                case,
                work,
                peak,
                data.stack().functions[name].memory_mb,
                least,
                memory.cheapest(work, least),
                known[name].get("why", ""),
            )
        )
    return found


def _measured(megapixels: float, seconds: float) -> Iterator[tuple[str, str, Work, int]]:
    """Yield function, case, work, and the most memory of any of the function's messages."""
    render = pictures.processed(megapixels)
    vectors = data.assumed("vectors_seconds")
    cases = [
        ("ImageProcessor", f"{megapixels:g} MP", memory.work(render)),
        ("Analyzer", "model", memory.work(data.measured("analyzer", "model"), seconds)),
        ("Analyzer", "offline", memory.work(data.measured("analyzer", "offline"))),
        ("Embedder", "1, model", memory.work(data.measured("embedder", "model, 1"), vectors)),
        ("Embedder", "128, model", memory.work(data.measured("embedder", "model, 128"), vectors)),
        (
            "Api",
            "search",
            memory.work(data.measured("api", bill.OF_SEARCHES), data.assumed("question_seconds")),
        ),
        ("Api", "list", memory.work(data.measured("api", "list, 2,000"))),
        ("ScanTick", "nothing", memory.work(data.measured("scan_tick", "nothing to do"))),
        ("Sweeper", "nothing", memory.work(data.measured("sweeper", "nothing to do"))),
    ]
    known, messages = data.read("functions")["functions"], data.read("measured")["messages"]
    for name, case, work in cases:
        yield name, case, work, max(each["peak_mb"] for each in messages[known[name]["folder"]].values())
