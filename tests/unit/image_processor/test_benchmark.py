"""What `python -m benchmarks.pictures` says of a renderer can be relied on."""

import os
import sys
from pathlib import Path

import pytest
from PIL import ImageFilter

from benchmarks import fidelity
from benchmarks.pictures import Worker, verdicts
from tests.unit.image_processor.pictures import encoded, photograph


def test_a_picture_is_like_itself_and_less_like_a_blurred_one() -> None:
    picture = photograph()
    expected = fidelity.reference(picture, picture.size)
    itself, blurred = (
        fidelity.decoded(encoded(each, "PNG"))
        for each in (picture, picture.filter(ImageFilter.GaussianBlur(2)))
    )
    assert fidelity.ssim(expected, itself) == pytest.approx(1)
    assert fidelity.ssim(expected, blurred) < 0.9
    assert fidelity.psnr(expected, blurred) < 35


@pytest.mark.parametrize("name", ["own", "sandboxed", "naive", "pyvips"])
def test_a_renderer_makes_both_derivatives_and_tells_what_they_took(name: str, tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(encoded(photograph(), "JPEG"))
    worker = Worker([sys.executable, "-m", "benchmarks.renderers", name], os.environ)
    try:
        found = worker.render(path, tmp_path / "kept")
        assert found["cpu_ms"] > 0
        assert (tmp_path / "kept.jpg").stat().st_size == found["image_bytes"]
        assert (tmp_path / "kept.webp").stat().st_size == found["thumbnail_bytes"]
        assert "error" in worker.render(tmp_path / "kept")
    finally:
        worker.stop()


def test_a_goal_that_is_missed_is_said_to_be() -> None:
    own = {"ratio": 0.7, "image_ssim": 0.97, "cpu_ms": 50}
    said = verdicts({"12 MP JPEG": {"own": own, "sharp": {"image_ssim": 0.971}}})
    assert [line.startswith("NOT MET") for line in said] == [True, False]
