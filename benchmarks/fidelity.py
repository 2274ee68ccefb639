"""How far a derivative is from the picture it shows, by PSNR and SSIM."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

Array = Any  # float32, height × width × 3, 0 to 255
LUMA = np.array([0.299, 0.587, 0.114], "f4")  # ITU-R BT.601
# Z. Wang et al., "Image quality assessment", 2004: a Gaussian of 1.5 pixels over 11, K1 = 0.01, K2 = 0.03.
WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2)).astype("f4")
WINDOW /= WINDOW.sum()
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def original(path: Path) -> Image.Image:
    """Return a picture decoded in full, upright, in sRGB."""
    with Image.open(path) as opened:
        profile = opened.info.get("icc_profile")
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if profile:
        known = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        image = ImageCms.profileToProfile(image, known, ImageCms.createProfile("sRGB")) or image
    return image


def reference(image: Image.Image, size: tuple[int, int]) -> Array:
    """Return the picture at another size, by Lanczos in floating point: nothing is rounded."""
    bands = [np.asarray(band.convert("F").resize(size, Image.Resampling.LANCZOS)) for band in image.split()]
    return np.stack(bands, -1)


def decoded(content: bytes) -> Array:
    """Return the pixels of a derivative."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB")).astype("f4")


def psnr(expected: Array, found: Array) -> float:
    """Return the peak signal-to-noise ratio in decibels, of all three bands."""
    return float(10 * np.log10(255**2 / np.mean((np.clip(expected, 0, 255) - found) ** 2)))


def ssim(expected: Array, found: Array) -> float:
    """Return the mean structural similarity of the luma."""
    a, b = expected @ LUMA, found @ LUMA
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    over = (2 * mean_a * mean_b + C1) * (2 * both + C2)
    return float((over / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))).mean())


def _blurred(plane: Array) -> Array:
    down = sum(weight * plane[i : plane.shape[0] - 10 + i] for i, weight in enumerate(WINDOW))
    return sum(weight * down[:, i : down.shape[1] - 10 + i] for i, weight in enumerate(WINDOW))
