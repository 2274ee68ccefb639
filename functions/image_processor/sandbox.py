"""Run a decoder in a child process with an end to its memory, CPU time and patience.

The child bounds resources and survives crashes of decoders written in C; it is no jail, it has the
rights of the function. On Lambda there is no /dev/shm, and so no multiprocessing queue, pool or lock: a
process and a pipe need none. `fork`, because a new interpreter would import Pillow anew for each picture.
"""

import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, cast

from shared.errors import MagpieError, RejectedError, TransientError
from shared.events import RejectionCode

T = TypeVar("T")

Answer = tuple[Any, ...]  # how the work ended, and what is to be told of it
Reason = tuple[RejectionCode, str]
TIMED_OUT: Reason = ("timed_out", "The picture took too long to read.")
TOO_MUCH_MEMORY: Reason = ("too_many_pixels", "The picture needs more memory to be read than there is.")
CRASHED: Reason = ("corrupt", "The file is damaged and cannot be read.")

PR_SET_PDEATHSIG = 1  # prctl(2)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8  # mallopt(3)
MADV_HUGEPAGE = 14  # madvise(2)
HUGE_PAGE = 2 * 2**20
HEAP_BYTES = 28 * 2**20
"""What a child asks for at once, besides the 16 MB that it asks for by itself. Not more: libwebp wants 48 MB
of zeros for a phone's picture, which are there without any work when they come from the kernel."""
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Signals that no decoder raises: the machine ran out of memory, or the stack is being stopped."""


class SandboxError(MagpieError):
    """The work failed in a way that nobody foresaw: a bug of ours, not a picture's fault."""


@dataclass(frozen=True)
class Bounds:
    """What a child may use.

    Attributes:
        memory_bytes: of address space beyond what it inherits. Of the function's 1,769 MB, about 150 are
            the parent's; the worst 48-megapixel picture measured took 740.
        cpu_seconds: of CPU time; the worst 48-megapixel picture took 2.
        wall_seconds: by the clock, so that the function (60 s) can still write down what became of it.
    """

    memory_bytes: int = 1_400 * 2**20
    cpu_seconds: int = 30
    wall_seconds: float = 40.0


def run(work: Callable[[], T], bounds: Bounds = Bounds()) -> T:
    """Call `work` in a child process and return what it returns, which must be picklable.

    Raises:
        RejectedError: `work` raised it; or the child ran out of memory (`too_many_pixels`), ran out of
            time (`timed_out`), or crashed (`corrupt`).
        TransientError: somebody else ended the child.
        SandboxError: `work` raised anything else; says what, and where.
    """
    fork = multiprocessing.get_context("fork")
    reader, writer = fork.Pipe(duplex=False)
    child = fork.Process(target=_child, args=(work, bounds, writer, os.getpid()), daemon=True)
    with reader:
        with writer:
            child.start()
        try:
            in_time = reader.poll(bounds.wall_seconds)
            # Read before the child is waited for: it cannot end before the pipe is empty.
            answer: Answer = reader.recv() if in_time else ("rejected", *TIMED_OUT)
        except EOFError:
            child.join()
            answer = _epitaph(child.exitcode)
        finally:
            child.kill()
            child.join()
            child.close()
    kind, content = answer[0], answer[1:]
    if kind == "done":
        return cast("T", content[0])
    if kind == "rejected":
        raise RejectedError(*content)
    raise (TransientError if kind == "interrupted" else SandboxError)(*content)


def _epitaph(exit_code: int | None) -> Answer:
    """Return the answer of a child that died without one."""
    if exit_code is None or exit_code >= 0:
        return ("failed", f"the child left without an answer, with {exit_code}")
    killer = signal.Signals(-exit_code)
    if killer == signal.SIGXCPU:
        return ("rejected", *TIMED_OUT)
    if killer in FROM_OUTSIDE:
        return ("interrupted", f"the child was ended by {killer.name}")
    return ("rejected", *CRASHED)


def _child(work: Callable[[], Any], bounds: Bounds, writer: Connection, parent: int) -> None:
    """Answer through the pipe and leave.

    By `os._exit`, and with the collector off: nothing that was inherited, such as a connection to the
    database, is finalised here while the parent goes on using it.
    """
    gc.disable()
    try:
        _bound(bounds, parent)
        answer: Answer = ("done", work())
    except RejectedError as error:
        answer = ("rejected", error.code, error.sentence)
    except MemoryError:
        answer = ("rejected", *TOO_MUCH_MEMORY)
    except Exception:  # noqa: BLE001 - reported to the parent, which raises it
        answer = ("failed", traceback.format_exc())
    try:
        writer.send(answer)
    finally:
        os._exit(0)


def _bound(bounds: Bounds, parent: int) -> None:
    """Set every limit, and silence the decoders: libtiff would write a line for each line of a picture."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to die with it
        os._exit(1)
    inherited = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_AS, inherited + bounds.memory_bytes)
    _limit(resource.RLIMIT_CPU, bounds.cpu_seconds)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let this process have its memory in few large pieces, use again what it frees, and give nothing back.

    A child lives for one picture, and each page of 4 KB that it touches for the first time takes 2 µs: a
    sixth of the time of a phone's picture. Where the kernel has no larger pages, they stay small.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for option, value in (
        (M_MMAP_THRESHOLD, 2**25),  # the highest that every glibc takes
        (M_TRIM_THRESHOLD, 2**30),
        (M_ARENA_MAX, 1),
        (M_TOP_PAD, HEAP_BYTES),
    ):
        libc.mallopt(option, value)
    start = -(-libc.sbrk(0) // HUGE_PAGE) * HUGE_PAGE
    libc.free(libc.malloc(2**24))  # the heap grows by that, and what it is padded with
    end = libc.sbrk(0) // HUGE_PAGE * HUGE_PAGE
    if end > start:
        libc.madvise(start, end - start, MADV_HUGEPAGE)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
