"""Pictures out: 8 or 16 bits per channel, in the format of the extension, with their settings in EXIF.

Knows formats and EXIF. `jaxnst.io.bit_depth` rounds and encodes 16 bits; `jaxnst.io.images` reads pictures.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from jaxnst.errors import InputError
from jaxnst.io.bit_depth import DEEP_ENCODERS, IMAGE_DESCRIPTION, SOFTWARE, dither_to_bytes, to_bytes, to_deep
from jaxnst.io.files import PathLike, check_file, expand, write_whole
from jaxnst.io.images import open_image

if TYPE_CHECKING:
    from jaxtyping import Float

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}  # limits of libjpeg and libwebp, in pixels


def to_pil(array: Float[np.ndarray, "h w 3"], dither: bool = False) -> Image.Image:
    """Rounds a picture to 8 bits.

    Args:
      array: float `[H, W, 3]`, sRGB-encoded; values outside [0, 1] are clipped.
      dither: whether to add noise of at most one level before rounding, so that smooth gradients show no
        bands; the noise is the same every time; default False.

    Returns:
      A PIL image, mode RGB.
    """
    return Image.fromarray(dither_to_bytes(array) if dither else to_bytes(array))


def save_image(
    path: PathLike,
    array: Float[np.ndarray, "h w 3"],
    metadata: Mapping[str, Any] | None = None,
    quality: int = 95,
    bits: int = 8,
    dither: bool = False,
) -> None:
    """Writes a picture to a file, which appears whole or not at all.

    Args:
      path: the file to write; its extension chooses PNG, JPEG, WebP or TIFF.
      array: float `[H, W, 3]`, sRGB-encoded; values outside [0, 1] are clipped.
      metadata: any mapping that JSON can represent, stored in EXIF for `read_metadata`; default: none.
      quality: of JPEG and WebP, 1 to 100; default 95.
      bits: bits per channel, 8 or (PNG and TIFF only) 16; default 8.
      dither: whether to add noise before rounding to 8 bits, as `to_pil` does; default False.

    Raises:
      InputError: `check_output` refuses the arguments, or the format cannot hold this much metadata.
      OSError: the write failed, for example because the disk is full; the old file is unchanged.
    """
    array = np.asarray(array)
    check_output(path, "path", (array.shape[0], array.shape[1]), bits, dither)
    image_format = FORMATS[expand(path).resolve().suffix.lower()]
    exif = _exif(metadata)
    if bits == 16:
        write_whole(path, DEEP_ENCODERS[image_format](to_deep(array), exif))
    else:
        write_whole(path, _encode(to_pil(array, dither), image_format, exif, quality))


def check_output(
    path: PathLike,
    argument: str = "out",
    size: tuple[int, int] | None = None,
    bits: int = 8,
    dither: bool = False,
) -> None:
    """Checks, before the work starts, that a picture can be saved to a path.

    Args:
      path: the file to write.
      argument: name of the argument in error messages; default "out".
      size: height and width of the picture in pixels; default None: not checked.
      bits: bits per channel; default 8.
      dither: whether noise will be added before rounding; default False.

    Raises:
      InputError: the extension is unknown; the folder does not exist or is not writable; the path is a folder
        itself; the format cannot hold this size or this many bits; or both 16 bits and dither are asked for.
    """
    target = check_file(path, argument)
    image_format = FORMATS.get(target.suffix.lower())
    if image_format is None:
        ending = f"the extension {target.suffix!r} is unknown" if target.suffix else "there is no extension"
        raise InputError(f"{argument}: {ending} in {os.fspath(path)!r}; use one of: {', '.join(FORMATS)}.")
    limit = LONGEST_SIDE.get(image_format)
    if size and limit and max(size) > limit:
        raise InputError(
            f"{argument}: {image_format} holds up to {limit} pixels on a side, not {max(size)}; "
            "use .png or .tiff."
        )
    if bits not in (8, 16):
        raise InputError(f"bits: {bits!r} bits per channel are not supported; use 8 or 16.")
    if bits == 16 and image_format not in DEEP_ENCODERS:
        raise InputError(f"bits: {image_format} holds 8 bits per channel, not 16; use .png or .tif.")
    if bits == 16 and dither:
        raise InputError("dither: dithering is for 8 bits and has no effect on 16; leave out dither or bits.")


def read_metadata(path: PathLike, argument: str = "config") -> dict[str, Any]:
    """Reads the metadata that `save_image` stored in a picture.

    Args:
      path: a picture written by `save_image`.
      argument: name of the argument in error messages; default "config".

    Returns:
      The metadata, as JSON restores it: tuples have become lists.

    Raises:
      InputError: the file cannot be read, or has no such metadata.
    """
    try:
        metadata = json.loads(open_image(path, argument).getexif()[IMAGE_DESCRIPTION])
    except (KeyError, TypeError, json.JSONDecodeError):
        metadata = None
    if not isinstance(metadata, dict):
        raise InputError(f"{argument}: {os.fspath(path)!r} has no settings; give a picture saved by jaxnst.")
    return metadata


def _exif(metadata: Mapping[str, Any] | None) -> Image.Exif:
    exif = Image.Exif()
    if metadata is not None:
        exif[IMAGE_DESCRIPTION] = json.dumps(dict(metadata), ensure_ascii=True)
        exif[SOFTWARE] = f"jaxnst {metadata.get('version', '')}".strip()
    return exif


def _encode(image: Image.Image, image_format: str, exif: Image.Exif, quality: int) -> bytes:
    options: dict[str, Any] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }.get(image_format, {})
    file = io.BytesIO()
    try:
        image.save(file, image_format, exif=exif, **options)
    except ValueError as error:
        raise InputError(f"path: {image_format} cannot hold this ({error}); use .png or .tiff.") from error
    return file.getvalue()
