"""Bit depth: rounds or dithers floats to 8 or 16 bits, and encodes 16-bit RGB as PNG and TIFF.

Pillow can write RGB at 8 bits only. Paths, and what the metadata mean, are the business of `jaxnst.io.save`.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8, UInt16

IMAGE_DESCRIPTION, SOFTWARE = 0x010E, 0x0131  # tags in both EXIF and TIFF

PNG_CHUNK = 2**30
"""Size of the largest IDAT chunk to write, in bytes; PNG allows up to 2**31 - 1."""

CLASSIC_TIFF = 2**32 - 2**25
"""Most bytes of pixels in a TIFF with 32-bit offsets: 4 GiB, less what deflate and tags may add."""


def to_bytes(array: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Rounds a picture to the nearest of 256 levels; values outside [0, 1] are clipped."""
    return np.rint(np.clip(array, 0, 1) * np.float32(255)).astype(np.uint8)


def to_deep(array: Float[np.ndarray, "h w 3"]) -> UInt16[np.ndarray, "h w 3"]:
    """Rounds a picture to the nearest of 65536 levels; values outside [0, 1] are clipped."""
    return np.rint(np.clip(array, 0, 1) * np.float32(65535)).astype(np.uint16)


def dither_to_bytes(array: Float[np.ndarray, "h w 3"], seed: int = 0) -> UInt8[np.ndarray, "h w 3"]:
    """Adds noise to a picture and rounds it to 256 levels, so that the mean over an area stays exact.

    The noise is the sum of two uniform variables, each one level wide. With this triangular noise, neither
    mean nor variance of the error depends on the picture (Lipshitz, Wannamaker and Vanderkooy 1992).
    Within half a level of black or white only one of the two is added: clipping would shift the mean there,
    and pure black and white stay free of specks.

    Args:
      array: float `[H, W, 3]`, sRGB-encoded; values outside [0, 1] are clipped.
      seed: seed of the noise; default 0. The same seed gives the same bytes.

    Returns:
      Uint8 `[H, W, 3]`.
    """
    levels = np.clip(array, 0, 1).astype(np.float32) * np.float32(255)
    first, second = np.random.default_rng(seed).random((2, *levels.shape), dtype=np.float32) - np.float32(0.5)
    second[np.abs(levels - 127.5) > 127] = 0
    return np.rint(levels + first + second).clip(0, 255).astype(np.uint8)  # a float32 sum can reach 255.5


def encode_png(levels: UInt16[np.ndarray, "h w 3"], exif: Image.Exif) -> bytes:
    """Encodes a 16-bit picture as PNG, with the same EXIF chunk that Pillow writes for 8 bits."""
    import png

    height, width, _ = levels.shape
    rows = np.ascontiguousarray(levels, ">u2").view(np.uint8).reshape(height, -1)
    # Filter 2, "up": the difference to the row above. It makes photos a fifth smaller; pypng has no filters.
    filtered = np.insert(np.diff(rows, axis=0, prepend=np.uint8(0)), 0, 2, axis=1)
    pixels = memoryview(zlib.compress(filtered.tobytes()))
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0))]  # 2: RGB
    if exif:
        chunks.append((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", pixels[start : start + PNG_CHUNK]) for start in range(0, len(pixels), PNG_CHUNK)]
    file = io.BytesIO()
    png.write_chunks(file, [*chunks, (b"IEND", b"")])
    return file.getvalue()


def encode_tiff(levels: UInt16[np.ndarray, "h w 3"], exif: Image.Exif) -> bytes:
    """Encodes a 16-bit picture as TIFF, or as BigTIFF if it is larger than `CLASSIC_TIFF`."""
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(
        file,
        levels,
        bigtiff=levels.nbytes > CLASSIC_TIFF,  # tifffile chooses it only without compression
        byteorder="<",
        photometric="rgb",
        compression="adobe_deflate",
        predictor=True,
        description=exif.get(IMAGE_DESCRIPTION),
        software=exif.get(SOFTWARE, "").encode("ascii", "replace"),  # as Pillow does
        metadata=None,  # otherwise tifffile adds a description of its own
    )
    return file.getvalue()


DEEP_ENCODERS: Mapping[str, Callable[[np.ndarray, Image.Exif], bytes]] = {
    "PNG": encode_png,
    "TIFF": encode_tiff,
}
"""Encoders of 16 bits per channel, by Pillow's name of the format."""
