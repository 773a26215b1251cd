"""Pictures in: files, PIL images and arrays become float32 RGB in [0, 1], and are resized.

Knows about files, Pillow, EXIF and colour profiles; knows nothing about JAX, PyTorch or style transfer.
Pillow reads 16-bit gray at full depth but 16-bit RGB at 8 bits, and so does this module.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from jaxnst.errors import InputError
from jaxnst.io.files import PathLike, expand, reason

if TYPE_CHECKING:
    from jaxtyping import Float

Picture: TypeAlias = PathLike | Image.Image | npt.ArrayLike

PROFILE_MODES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}  # ICC header's colour space -> Pillow mode

_FILTERS = threading.Lock()  # all threads share Python's warning filters

RANGE_TOLERANCE = 1e-3  # resizing and 16-bit floats overshoot [0, 1] by up to this much


def read_image(picture: Picture, argument: str = "image") -> Float[np.ndarray, "h w 3"]:
    """Reads a picture as RGB: turned upright by EXIF, converted to sRGB, and composited over white.

    Args:
      picture: a path; a PIL image of any mode; or an array (NumPy, JAX, PyTorch) `[H, W]`, `[H, W, 1]`,
        `[H, W, 3]` or `[H, W, 4]`, uint8, uint16 or float in [0, 1]. An animation gives its first frame.
      argument: name of the argument in error messages; default "image".

    Returns:
      A new float32 array `[H, W, 3]` in [0, 1], sRGB-encoded.

    Raises:
      InputError: the file is missing, damaged or not a picture, or the array has an unsupported shape, dtype
        or range.
    """
    if isinstance(picture, (str, os.PathLike)):
        return _from_pil(open_image(picture, argument), argument)
    if isinstance(picture, Image.Image):
        return _from_pil(_decoded(picture, "the PIL image", argument), argument)
    return _from_array(picture, argument)


def as_list(pictures: Any) -> list[Picture]:
    """Returns a list of pictures for one picture, a list or tuple of pictures, or None (an empty list)."""
    if pictures is None:
        return []
    return list(pictures) if isinstance(pictures, list | tuple) else [pictures]


def fit_size(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Computes the height and width that give the longer side `size` pixels and keep the aspect ratio.

    Args:
      shape: current height and width in pixels.
      size: new length of the longer side in pixels, at least 1.

    Returns:
      New height and width in pixels; the shorter side is rounded, and at least 1.
    """
    height, width = (max(1, round(side * size / max(shape))) for side in shape)
    return height, width


def resize(array: Float[np.ndarray, "h w c"], size: tuple[int, int]) -> Float[np.ndarray, "h2 w2 c"]:
    """Resamples a picture in float32 with Pillow's antialiased Lanczos filter.

    Args:
      array: float32 `[H, W, C]` in [0, 1], any number of channels.
      size: new height and width in pixels.

    Returns:
      Float32 `[*size, C]`, clipped to [0, 1] because Lanczos overshoots; `array` itself if it has this size.
    """
    if array.shape[:2] == tuple(size):
        return array
    height, width = size
    channels = [
        Image.fromarray(np.ascontiguousarray(channel, np.float32)).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        for channel in np.moveaxis(array, -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1).clip(0, 1)


def open_image(path: PathLike, argument: str) -> Image.Image:
    """Opens a picture file and decodes all its pixels.

    Args:
      path: the file; `~` is the home folder.
      argument: name of the argument in error messages.

    Returns:
      A PIL image of the file's own mode and orientation.

    Raises:
      InputError: the file is missing, unreadable, empty, damaged, too large for Pillow, or not a picture.
    """
    name = repr(os.fspath(path))
    data = _read_bytes(expand(path), name, argument)
    if not data:
        raise InputError(f"{argument}: {name} is an empty file; give a picture.")
    return _decoded(io.BytesIO(data), name, argument)


def _decoded(source: io.BytesIO | Image.Image, name: str, argument: str) -> Image.Image:
    """Decodes all pixels of an image, so that damage is noticed here."""
    try:
        image = source if isinstance(source, Image.Image) else _opened(source)
        image.load()
    except UnidentifiedImageError as error:
        raise InputError(f"{argument}: {name} is not a picture Pillow can read; use PNG or JPEG.") from error
    except Image.DecompressionBombError as error:
        advice = "make it smaller, or set PIL.Image.MAX_IMAGE_PIXELS = None if you trust it"
        raise InputError(f"{argument}: {name} has more pixels than Pillow allows; {advice}.") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many types, depending on the damage
        raise InputError(f"{argument}: {name} is truncated or damaged ({error}); replace it.") from error
    return image


def _opened(source: io.BytesIO) -> Image.Image:
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(source)


def _read_bytes(path: Path, name: str, argument: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{argument}: there is no file {name}; {_similar_files(path)}") from error
    except IsADirectoryError as error:
        raise InputError(f"{argument}: {name} is a folder; give the path of one picture.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise InputError(f"{argument}: {name} cannot be read ({reason(error)}); check the path.") from error


def _similar_files(path: Path) -> str:
    """Suggests files with similar names, upper or lower case, in the folder of a missing file."""
    try:
        names = {entry.name.lower(): entry for entry in sorted(path.parent.iterdir()) if entry.is_file()}
    except OSError:
        return f"there is no folder {str(path.parent)!r} either."
    near = [str(names[name]) for name in difflib.get_close_matches(path.name.lower(), names, n=3)]
    return f"did you mean {' or '.join(near)}?" if near else "check the path."


def _from_pil(image: Image.Image, argument: str) -> Float[np.ndarray, "h w 3"]:
    """Converts a decoded PIL image of any mode to RGB over white."""
    if 0 in image.size:
        raise InputError(f"{argument}: the picture is {image.width}x{image.height}; use one with pixels.")
    with contextlib.suppress(Exception):  # broken EXIF must not keep the pixels from being read
        image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile") if image.mode != "LAB" else None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_deep_gray(image, profile, argument)
    if not image.has_transparency_data:
        return _unit(_to_srgb(image, profile, argument))
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    # The profile of a gray picture needs one channel, but `convert` has made three.
    colour = rgba.getchannel("R") if Image.getmodebase(image.mode) == "L" else rgba.convert("RGB")
    return _over_white(_unit(_to_srgb(colour, profile, argument)), _unit(rgba.getchannel("A"))[..., None])


def _from_deep_gray(image: Image.Image, profile: bytes | None, argument: str) -> Float[np.ndarray, "h w 3"]:
    """Converts gray of more than 8 bits to RGB; Pillow's own conversion would clip it to 255."""
    gray = np.asarray(image)
    opaque = gray != image.info.get("transparency", -1)
    if image.mode == "I" and gray.min() >= 0 and gray.max() <= 65535:
        gray = gray.astype(np.uint16)
    gray = _to_floats(gray, argument)
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    if profile:
        # Pillow converts to 8-bit RGB only: convert 256 levels and interpolate between them.
        levels = np.arange(256, dtype=np.uint8)
        curve = _unit(_to_srgb(Image.fromarray(levels[None]), profile, argument))[0]
        rgb = np.stack([np.interp(gray, levels / 255, channel) for channel in curve.T], axis=-1)
    return _over_white(rgb, opaque[..., None]).astype(np.float32)


def _to_srgb(image: Image.Image, profile: bytes | None, argument: str) -> Image.Image:
    """Converts a picture without alpha to RGB, and from its ICC profile, if there is one, to sRGB."""
    if profile:
        mode = "CMYK" if image.mode == "CMYK" else Image.getmodebase(image.mode)
        try:
            wanted = PROFILE_MODES.get(profile[16:20], "another colour space")
            if mode != wanted and (mode, wanted) != ("L", "RGB"):
                raise ValueError(f"it is for {wanted}, the picture is {mode}")
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            # Little CMS's optimisation for gray is off by up to 9 of 255 levels in shadows, and no faster.
            flags = ImageCms.Flags.NOOPTIMIZE if wanted == "L" else ImageCms.Flags.NONE
            transform = ImageCms.buildTransform(source, srgb, wanted, "RGB", flags=flags)
            return transform.apply(image.convert(wanted))
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
            warnings.warn(f"{argument}: its colour profile is ignored ({error}).", stacklevel=4)
    return image.convert("RGB")


def _from_array(picture: Any, argument: str) -> Float[np.ndarray, "h w 3"]:
    array = _to_numpy(picture, argument)
    _check_shape(array.shape, argument)
    array = _to_floats(array, argument)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[-1] == 4:
        return _over_white(array[..., :3], array[..., 3:])
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array


def _to_numpy(picture: Any, argument: str) -> np.ndarray:
    kind = type(picture).__name__
    try:
        if hasattr(picture, "detach"):  # a PyTorch tensor, on whatever device
            picture = picture.detach().cpu()
            picture = (picture.float() if "bfloat16" in str(picture.dtype) else picture).numpy()
        array = np.asarray(picture)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{argument}: {kind} cannot be converted to a NumPy array ({error}); convert it first."
        ) from error
    if array.dtype.kind in "OSU" or array.ndim == 0:
        raise InputError(f"{argument}: {kind} is not a picture; give a path, a PIL image or an array.")
    return array


def _check_shape(shape: tuple[int, ...], argument: str) -> None:
    if 0 in shape:
        raise InputError(f"{argument}: an array of shape {list(shape)} has no pixels; use one with pixels.")
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3, 4)):
        return
    advice = "use [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        advice = "move the channels last"
    elif len(shape) == 4:
        first = shape[1] in (1, 3, 4) and shape[-1] not in (1, 3, 4)
        advice = "pass one picture at a time, without the batch axis" + (", channels last" if first else "")
    raise InputError(f"{argument}: an array of shape {list(shape)} is not a picture; {advice}.")


def _to_floats(array: np.ndarray, argument: str) -> np.ndarray:
    """Converts an array of uint8, uint16 or floats to a new float32 array in [0, 1]."""
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(np.float32) / np.iinfo(array.dtype).max
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind != "f":
        raise InputError(f"{argument}: arrays of type {array.dtype} are not supported; use uint8 or float.")
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise InputError(f"{argument}: it has NaN or infinite values; replace them with numbers in [0, 1].")
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        signed, bytes_ = low >= -1 and high <= 1, low >= 0 and high <= 255
        advice = "use (x + 1) / 2" if signed else "divide by 255" if bytes_ else "rescale them"
        raise InputError(f"{argument}: floats must be in [0, 1], not {low:.4g} to {high:.4g}; {advice}.")
    return array.clip(0, 1).astype(np.float32)


def _unit(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32) / 255


def _over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return rgb * alpha + (1 - alpha)
