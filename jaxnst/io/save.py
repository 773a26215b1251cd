"""Pictures and tables out: every file appears whole or not at all, and a picture carries its settings.

Knows formats, EXIF and paths; `jaxnst.io.images` reads what is written here.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from jaxnst.errors import InputError
from jaxnst.io.bit_depth import DEEP_ENCODERS, IMAGE_DESCRIPTION, SOFTWARE, dither_to_bytes, to_bytes, to_deep
from jaxnst.io.images import PathLike, expand, open_image, reason

if TYPE_CHECKING:
    from jaxtyping import Float

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}  # what libjpeg and libwebp can encode, in pixels


def to_pil(array: Float[np.ndarray, "h w 3"], dither: bool = False) -> Image.Image:
    """Round a picture to 8 bits.

    Args:
      array: float `[H, W, 3]`, sRGB-encoded; what lies outside [0, 1] is clipped.
      dither: add noise of up to a level, always the same, against steps in slow gradients; default False.

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
    """Write a picture, whole or not at all.

    Args:
      path: where to; the extension chooses PNG, JPEG, WebP or TIFF.
      array: float `[H, W, 3]` in [0, 1], sRGB-encoded.
      metadata: what JSON can hold, kept in the EXIF image description for `read_metadata`; default none.
      quality: of JPEG and WebP, 1 to 100; default 95.
      bits: per channel, 8, or in PNG and TIFF 16; default 8.
      dither: add noise before rounding to 8 bits, as `to_pil` does; default False.

    Raises:
      InputError: the path, the bits or the dither will not do, or the format cannot hold this many pixels
        or this much metadata.
      OSError: the disk is full or the like.
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
    """Find out, before the work, whether a picture can be saved under this path.

    Args:
      path: where the picture shall go.
      argument: the name of the argument in error messages; default "out".
      size: its height and width in pixels, if known already; default None.
      bits: per channel; default 8.
      dither: whether noise shall be added before rounding; default False.

    Raises:
      InputError: unknown extension, no such folder, no permission to write there, the path is a folder,
        the format cannot hold so large or so deep a picture, or 16 bits shall be dithered.
    """
    target = check_file(path, argument)
    image_format = FORMATS.get(target.suffix.lower())
    if image_format is None:
        ending = f"the extension {target.suffix!r} is unknown" if target.suffix else "there is no extension"
        raise InputError(f"{argument}: {ending} in {os.fspath(path)!r}; use one of: {', '.join(FORMATS)}.")
    limit = LONGEST_SIDE.get(image_format)
    if size and limit and max(size) > limit:
        raise InputError(
            f"{argument}: {image_format} ends at {limit} pixels, not {max(size)}; use .png or .tiff."
        )
    if bits not in (8, 16):
        raise InputError(f"bits: a channel cannot have {bits!r}; use 8 or 16.")
    if bits == 16 and image_format not in DEEP_ENCODERS:
        raise InputError(f"bits: {image_format} holds 8 per channel, not 16; use .png or .tif.")
    if bits == 16 and dither:
        raise InputError("dither: it is against the steps of 8 bits, and does nothing for bits 16; drop one.")


def check_file(path: PathLike, argument: str) -> Path:
    """Find out, before the work, whether a file can be written under this path.

    Args:
      path: where the file shall go; `~` is the home folder.
      argument: the name of the argument in error messages.

    Returns:
      The file itself, where `path` is a link to it.

    Raises:
      InputError: no such folder, no permission to write there, or the path is a folder.
    """
    given = os.fspath(path)
    try:
        target = expand(path).resolve()
        is_folder = target.is_dir()
    except (OSError, ValueError) as error:  # too long a name, a null character
        raise InputError(f"{argument}: {given!r} cannot be a path ({reason(error)}); rename it.") from error
    if is_folder:
        raise InputError(f"{argument}: {given!r} is a folder; give the path of a file in it.")
    if not target.parent.is_dir():
        raise InputError(f"{argument}: there is no folder {str(target.parent)!r}; create it first.")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{argument}: no permission to write to {str(target.parent)!r}; choose another.")
    return target


def write_whole(path: PathLike, data: bytes) -> None:
    """Write a file so that, whatever happens, `path` holds either the old one or the whole new one.

    Raises:
      OSError: the disk is full or the like.
    """
    # Not tempfile: its files are readable by their owner only, and would stay so after the rename.
    with written_aside(path, uuid.uuid4().hex) as aside:
        aside.write_bytes(data)


@contextlib.contextmanager
def written_aside(path: PathLike, name: str) -> Iterator[Path]:
    """Give a place to write a file, which gets its path when it is whole and on the disk, or not at all.

    Args:
      path: of the file; a symbolic link stays one.
      name: 32 hexadecimal digits that no one else uses in this folder; a kill leaves a file of this name.

    Raises:
      OSError: the disk is full or the like; what was there before still is.
    """
    target = expand(path).resolve()
    aside = target.with_name(f".{name}.tmp")
    try:
        yield aside
        with aside.open("r+b") as file:
            os.fsync(file.fileno())  # or a power cut leaves the new name with nothing in it
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def read_metadata(path: PathLike, argument: str = "config") -> dict[str, Any]:
    """Read back what `save_image` stored beside the pixels.

    Args:
      path: a picture written by `save_image`.
      argument: the name of the argument in error messages; default "config".

    Returns:
      The metadata, as JSON gives it back: tuples have become lists.

    Raises:
      InputError: the file cannot be read, or holds no such metadata.
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
