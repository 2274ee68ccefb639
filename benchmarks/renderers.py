"""Render each picture named on stdin, and say what it took: `python -m benchmarks.renderers own`.

A process for each renderer, so that what one of them loads or keeps costs the others nothing. The protocol
is one JSON document a line; `sharp/worker.cjs` speaks it too.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.process import cpu, megabytes

Derivatives = tuple[bytes, bytes]
"""The web image and the thumbnail."""
MAX_PIXELS = 64_000_000


def own() -> tuple[str, Callable[[Path], Derivatives]]:
    """Magpie's own, with all else that it finds out about a picture, set up as its child process is."""
    from functions.image_processor.rendition import render
    from functions.image_processor.sandbox import keep_freed_memory

    keep_freed_memory()

    def work(path: Path) -> Derivatives:
        rendition = render(path, MAX_PIXELS, keep_location=False)
        return rendition.image, rendition.thumbnail

    return _versions(), work


def sandboxed() -> tuple[str, Callable[[Path], Derivatives]]:
    """The same in the child process in which it runs on Lambda."""
    from functions.image_processor import sandbox
    from functions.image_processor.rendition import render

    def work(path: Path) -> Derivatives:
        rendition = sandbox.run(partial(render, path, MAX_PIXELS, False))
        return rendition.image, rendition.thumbnail

    return _versions(), work


def naive() -> tuple[str, Callable[[Path], Derivatives]]:
    """What is written first: open, turn, and `thumbnail` of a copy, twice."""
    import pillow_heif
    from PIL import Image, ImageOps

    pillow_heif.register_heif_opener()

    def work(path: Path) -> Derivatives:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        made = []
        for side, kind, options in ((2048, "JPEG", {"quality": 85}), (512, "WEBP", {"quality": 80})):
            small = upright.copy()
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            file = io.BytesIO()
            small.save(file, kind, **options)
            made.append(file.getvalue())
        return made[0], made[1]

    return _versions(), work


def vips() -> tuple[str, Callable[[Path], Derivatives]]:
    """libvips, by the chain that sharp uses."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips

    pyvips.cache_set_max(0)

    def work(path: Path) -> Derivatives:
        # Asked to convert profiles, it would convert the pictures without one too.
        profile = "icc-profile-data" in pyvips.Image.new_from_file(str(path)).get_fields()
        colours = {"export_profile": "srgb"} if profile else {}
        web = pyvips.Image.thumbnail(str(path), 2048, height=2048, size="down", **colours)
        web = (web.flatten(background=255) if web.hasalpha() else web).copy_memory()
        small = web.thumbnail_image(512, height=512, size="down")
        image = web.jpegsave_buffer(Q=85, optimize_coding=False, keep="none")
        return image, small.webpsave_buffer(Q=80, effort=2, keep="none")

    return _versions(), work


def _versions() -> str:
    import PIL
    import pyvips

    libvips = ".".join(str(pyvips.version(part)) for part in range(3))
    return f"Pillow {PIL.__version__}, pyvips {pyvips.__version__}, libvips {libvips}"


RENDERERS = {"own": own, "sandboxed": sandboxed, "naive": naive, "pyvips": vips}


def answer(work: Callable[[Path], Derivatives], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Render one picture; where `keep` is given, the derivatives are written beside it."""
    idle, before, began = megabytes("VmRSS"), cpu(), time.perf_counter()
    try:
        image, thumbnail = work(Path(asked["path"]))
    except Exception as error:  # noqa: BLE001 - told to who asked: not every library reads every format
        return {"error": str(error)}
    took = {"cpu_ms": (cpu() - before) * 1000, "wall_ms": (time.perf_counter() - began) * 1000}
    peak = megabytes("VmHWM") - idle
    if asked.get("keep"):
        Path(f"{asked['keep']}.jpg").write_bytes(image)
        Path(f"{asked['keep']}.webp").write_bytes(thumbnail)
    return took | {"peak_mb": peak, "image_bytes": len(image), "thumbnail_bytes": len(thumbnail)}


def main(name: str) -> None:
    version, work = RENDERERS[name]()
    sys.stdout.write(json.dumps({"version": version}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(work, json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
