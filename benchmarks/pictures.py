"""Rendering a picture, against what else would serve: `python -m benchmarks.pictures [--quick] [--json]`.

Bytes in, web image and thumbnail out: Magpie's own, alone and in its child process, sharp, pyvips, and
Pillow as it is written first. Each is a process that stays; each picture goes to all of them in turn, round
after round, so that what else the machine does hits all of them alike. A round gives a ratio to sharp, and
what is told is their median with the quarters around it.

Equal are: 2048 pixels at most and no enlarging, JPEG of quality 85 with 4:2:0 and the standard Huffman
tables, a thumbnail of 512 pixels made from the web image as WebP of quality 80 and effort 2, sRGB, upright,
no metadata. sharp makes Huffman tables for each picture unless told otherwise: that is measured beside it.
Bytes and quality of what came out are told, by PSNR and SSIM against the original reduced by Lanczos in
floating point.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import fidelity, photographs

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".magpie" / "benchmarks"
SHARP = "0.35.5"
ROUNDS, QUICK_ROUNDS = 9, 3
RIVAL = "sharp"
QUICK = ("own", "own, sandboxed", RIVAL, "pyvips")
"""Who renders with `--quick`: what has a goal, and its best rivals."""
GOALS = {"12 MP JPEG": 0.65, "24 MP JPEG": 0.9, "12 MP PNG": 1.0, "12 MP WebP": 1.0}
"""Picture → the most CPU that our own render may take, as a share of sharp's."""
PEAK_OF = "24 MP JPEG"
"""The picture whose peak has a goal. `--quick` measures that of no other, and no picture without a goal."""
MAX_PEAK_MB, MAX_SSIM_LOSS = 60, 0.002

Figures = dict[str, Any]


class Worker:
    """A process that renders pictures, one at a time."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version: str = self._read()["version"]

    def render(self, path: Path, keep: Path | None = None) -> Figures:
        """Return what it took, or `error`."""
        assert self._process.stdin  # noqa: S101 - it was asked for
        self._process.stdin.write(json.dumps({"path": str(path), "keep": keep and str(keep)}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Figures:
        assert self._process.stdout  # noqa: S101 - it was asked for
        line = self._process.stdout.readline()
        found: Figures = json.loads(line) if line else {"error": "the process ended", "version": "none"}
        return found

    def stop(self) -> None:
        """End it: it leaves when nobody asks any more."""
        self._process.communicate(timeout=60)


def commands(say: Any) -> dict[str, tuple[list[str | Path], dict[str, str]]]:
    """Return how each renderer is started; one that cannot be had is left out with a sentence."""
    here: list[str | Path] = [sys.executable, "-m", "benchmarks.renderers"]
    environment = dict(os.environ)
    found: dict[str, tuple[list[str | Path], dict[str, str]]] = {
        "own": ([*here, "own"], environment),
        "own, sandboxed": ([*here, "sandboxed"], environment),
    }
    node, worker = shutil.which("node"), ROOT / "benchmarks" / "sharp" / "worker.cjs"
    folder = _sharp(say)
    if node and folder:
        found["sharp"] = ([node, worker, folder, "plain"], environment)
        found["sharp, own tables"] = ([node, worker, folder, "optimised"], environment)
    found["pyvips"] = ([*here, "pyvips"], environment)
    found["naive Pillow"] = ([*here, "naive"], environment)
    return found


def _sharp(say: Any) -> Path | None:
    """Return the folder that sharp is installed in."""
    folder, npm = CACHE / f"sharp-{SHARP}", shutil.which("npm")
    if (folder / "node_modules" / "sharp").is_dir():
        return folder
    if not (npm and shutil.which("node")):
        say("sharp is left out: there is no node and npm here")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--no-save", "--ignore-scripts"]
    # Where there is no way to the registry, npm would try for ten minutes.
    quiet += ["--fetch-retries=0", "--fetch-timeout=30000"]
    tried = subprocess.run(  # noqa: S603 - a fixed command
        [npm, "install", *quiet, "--prefix", folder, f"sharp@{SHARP}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        say(f"sharp is left out: npm could not install it: {tried.stderr.strip()[-300:]}")
        return None
    return folder


@contextmanager
def workers(say: Any, quick: bool) -> Iterator[dict[str, Worker]]:
    """Yield every renderer, running; all of them are stopped."""
    with ExitStack() as stack:
        started = {}
        for name, (command, environment) in commands(say).items():
            if not quick or name in QUICK:
                started[name] = Worker(command, environment)
                stack.callback(started[name].stop)
        yield started


def measure(files: Mapping[str, Path], say: Any, quick: bool) -> dict[str, Any]:
    """Return versions, and the figures of each picture and renderer."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    found: dict[str, Any] = {"machine": machine(), "rounds": rounds, "pictures": {}}
    with workers(say, quick) as running, tempfile.TemporaryDirectory() as folder:
        found["versions"] = {name: worker.version for name, worker in running.items()}
        for picture, path in files.items():
            say(picture)
            keep = {name: Path(folder) / name for name in running}
            first = {name: worker.render(path, keep[name]) for name, worker in running.items()}
            can = {name: worker for name, worker in running.items() if "error" not in first[name]}
            taken: dict[str, list[Figures]] = {name: [] for name in can}
            for _ in range(rounds):
                for name, worker in can.items():
                    taken[name].append(worker.render(path))
            quality = _quality(path, {name: keep[name] for name in can})
            found["pictures"][picture] = {
                name: _figures(taken[name], taken.get(RIVAL)) | quality[name] for name in can
            } | {name: {"error": answer["error"]} for name, answer in first.items() if "error" in answer}
        small = photographs.make(CACHE / "pictures", ["2 MP JPEG"])["2 MP JPEG"]
        for picture in [PEAK_OF] if quick else files:
            rendered = [name for name, each in found["pictures"][picture].items() if "error" not in each]
            for name, peak in _peaks(files[picture], small, rendered, say).items():
                found["pictures"][picture][name]["peak_mb"] = peak
    return found


def _figures(taken: Sequence[Figures], rival: Sequence[Figures] | None) -> Figures:
    """Return medians, and the ratio to the rival with its quarters."""
    found: Figures = {
        name: round(statistics.median(each[name] for each in taken), 1) for name in ("cpu_ms", "wall_ms")
    }
    found |= {name: taken[0][name] for name in ("image_bytes", "thumbnail_bytes")}
    if rival:
        ratios = [each["cpu_ms"] / other["cpu_ms"] for each, other in zip(taken, rival, strict=True)]
        quarters = statistics.quantiles(ratios, n=4)
        medians = statistics.median(each["cpu_ms"] for each in rival)
        found["ratio"] = round(found["cpu_ms"] / medians, 2)
        found["ratio_quarters"] = [round(quarters[0], 2), round(quarters[2], 2)]
    return found


def _quality(path: Path, kept: Mapping[str, Path]) -> dict[str, Figures]:
    """Return how far the derivatives of each renderer are from the original."""
    original = fidelity.original(_readable(path))
    references: dict[tuple[int, int], Any] = {}
    found: dict[str, Figures] = {}
    for name, stem in kept.items():
        found[name] = {}
        for suffix, what in (("jpg", "image"), ("webp", "thumbnail")):
            pixels = fidelity.decoded(Path(f"{stem}.{suffix}").read_bytes())
            size = (pixels.shape[1], pixels.shape[0])
            if size not in references:
                references[size] = fidelity.reference(original, size)
            found[name] |= {
                f"{what}_size": list(size),
                f"{what}_psnr": round(fidelity.psnr(references[size], pixels), 2),
                f"{what}_ssim": round(fidelity.ssim(references[size], pixels), 4),
            }
    return found


def _readable(path: Path) -> Path:
    if path.suffix == ".heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    return path


def _peaks(path: Path, small: Path, names: Sequence[str], say: Any) -> dict[str, float]:
    """Return the most memory above idle in MB, each in a process that has only seen a small picture."""
    found = {}
    for name, (command, environment) in commands(say).items():
        if name in names and name != "own, sandboxed":  # the memory is its child's
            worker = Worker(command, environment)
            worker.render(small)
            found[name] = round(worker.render(path).get("peak_mb", 0), 1)
            worker.stop()
    return found


def machine() -> str:
    """Name the machine and what it runs."""
    about = Path("/proc/cpuinfo").read_text().split("model name")
    processor = about[1].split(":")[1].split("\n")[0].strip() if len(about) > 1 else "unknown"
    return f"{os.cpu_count()} cores of {processor}, Python {sys.version.split()[0]}"


def verdicts(pictures: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """Say of each goal whether it is met."""
    said = []

    def judge(what: str, found: float, most: float) -> None:
        said.append(f"{'met' if found <= most else 'NOT MET':8}{what}: {found} (at most {most})")

    for picture, most in GOALS.items():
        figures = pictures.get(picture, {})
        own, rival = figures.get("own", {}), figures.get(RIVAL, {})
        if "ratio" in own:
            judge(f"{picture}, CPU as a share of sharp's", own["ratio"], most)
        if "image_ssim" in own and "image_ssim" in rival:
            loss = round(rival["image_ssim"] - own["image_ssim"], 4)
            judge(f"{picture}, SSIM of the web image below sharp's", loss, MAX_SSIM_LOSS)
    if PEAK_OF in pictures:
        judge(f"{PEAK_OF}, MB above idle", pictures[PEAK_OF]["own"]["peak_mb"], MAX_PEAK_MB)
    return said


def told(found: Mapping[str, Any]) -> str:
    """Return the figures as tables."""
    lines = [found["machine"], *(f"  {name}: {version}" for name, version in found["versions"].items())]
    head = f"  {'':18}{'CPU ms':>8}{'wall':>7}{'x sharp':>9}  {'quarters':12}{'MB':>6}"
    head += f"{'web kB':>8}{'SSIM':>8}{'PSNR':>7}{'thumb kB':>10}{'SSIM':>8}"
    for picture, renderers in found["pictures"].items():
        lines += ["", picture, head]
        for name, each in renderers.items():
            if "error" in each:
                lines.append(f"  {name:18}cannot read it")
                continue
            low, high = each.get("ratio_quarters", ("", ""))
            lines.append(
                f"  {name:18}{each['cpu_ms']:8.1f}{each['wall_ms']:7.0f}{each.get('ratio', ''):>9}"
                f"  {f'{low} to {high}':12}{each.get('peak_mb', ''):>6}"
                f"{each['image_bytes'] / 1000:8.0f}{each['image_ssim']:8.4f}{each['image_psnr']:7.2f}"
                f"{each['thumbnail_bytes'] / 1000:10.1f}{each['thumbnail_ssim']:8.4f}"
            )
    return "\n".join([*lines, "", *verdicts(found["pictures"])]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="the four with a goal, three rounds, in half a minute"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args(arguments)

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    names = list(GOALS if given.quick else photographs.KINDS)
    files = photographs.make(CACHE / "pictures", names)
    found = measure(files, say, given.quick)
    found["goals"] = verdicts(found["pictures"])
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if given.json else told(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
