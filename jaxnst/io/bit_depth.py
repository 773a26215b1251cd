"""Levels for floats, rounded or dithered, and 16-bit RGB in PNG and TIFF, which Pillow writes in 8 bits only.

Knows formats; paths and what the metadata mean are `jaxnst.io.save`'s.
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

IMAGE_DESCRIPTION, SOFTWARE = 0x010E, 0x0131  # EXIF tags, and TIFF's own

PNG_CHUNK = 2**30
"""Bytes of one IDAT chunk; PNG allows up to 2**31 - 1."""

CLASSIC_TIFF = 2**32 - 2**25
"""Bytes of pixels up to which a TIFF has 32-bit offsets: 4 GiB, less what deflate and tags may add."""


def to_bytes(array: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Round a picture to the nearest of 256 levels; what lies outside [0, 1] is clipped."""
    return np.rint(np.clip(array, 0, 1) * np.float32(255)).astype(np.uint8)


def to_deep(array: Float[np.ndarray, "h w 3"]) -> UInt16[np.ndarray, "h w 3"]:
    """Round a picture to the nearest of 65536 levels; what lies outside [0, 1] is clipped."""
    return np.rint(np.clip(array, 0, 1) * np.float32(65535)).astype(np.uint16)


def dither_to_bytes(array: Float[np.ndarray, "h w 3"], seed: int = 0) -> UInt8[np.ndarray, "h w 3"]:
    """Round a picture to 256 levels after adding noise, so that its mean over an area is not rounded.

    The noise is the sum of two uniform ones of one level each, hence triangular, from -1 to 1 level: then
    neither mean nor variance of the error depend on the picture (Lipshitz, Wannamaker and Vanderkooy 1992).
    Within half a level of black and white only one of the two is added. This keeps the mean right where
    clipping would shift it, and leaves what is quite black or white without a speck.

    Args:
      array: float `[H, W, 3]`, sRGB-encoded; what lies outside [0, 1] is clipped.
      seed: of the noise; default 0. The same seed gives the same bytes.

    Returns:
      Uint8 `[H, W, 3]`.
    """
    levels = np.clip(array, 0, 1).astype(np.float32) * np.float32(255)
    first, second = np.random.default_rng(seed).random((2, *levels.shape), dtype=np.float32) - np.float32(0.5)
    second[np.abs(levels - 127.5) > 127] = 0
    return np.rint(levels + first + second).clip(0, 255).astype(np.uint8)  # a float32 sum can reach 255.5


def encode_png(levels: UInt16[np.ndarray, "h w 3"], exif: Image.Exif) -> bytes:
    """A PNG file of 16 bits per channel, with the EXIF chunk that Pillow would write."""
    import png

    height, width, _ = levels.shape
    rows = np.ascontiguousarray(levels, ">u2").view(np.uint8).reshape(height, -1)
    # Filter 2, "up": each row less the one above it. It takes a fifth off a photo's file, and pypng has none.
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
    """A TIFF file of 16 bits per channel; a BigTIFF where 32-bit offsets may not reach."""
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(
        file,
        levels,
        bigtiff=levels.nbytes > CLASSIC_TIFF,  # tifffile itself looks at uncompressed pixels only
        byteorder="<",
        photometric="rgb",
        compression="adobe_deflate",
        predictor=True,
        description=exif.get(IMAGE_DESCRIPTION),
        software=exif.get(SOFTWARE, "").encode("ascii", "replace"),  # as Pillow does
        metadata=None,  # no description of tifffile's own
    )
    return file.getvalue()


DEEP_ENCODERS: Mapping[str, Callable[[np.ndarray, Image.Exif], bytes]] = {
    "PNG": encode_png,
    "TIFF": encode_tiff,
}
"""How to write 16 bits per channel, by Pillow's name of the format."""
