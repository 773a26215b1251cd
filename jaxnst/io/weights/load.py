"""Loads, lists and verifies VGG19 weights, and fetches those that are not shipped.

Only `fetch` uses the internet. The weights are NumPy arrays, as `jaxnst.core.vgg` takes them.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from jaxnst.errors import InputError, choose
from jaxnst.io.weights.convert import (
    LICENCE,
    SHAPES,
    Preprocessing,
    Tensors,
    check_tensors,
    convert,
    digest,
    require,
)
from jaxnst.io.weights.download import Source, download

NAMES = ("caffe", "caffe-unit", "torchvision")
SHIPPED = ("caffe", "caffe-unit")
CAFFE_SHA256 = "1962e166c2c8fdf4edc5dac562f0fe8126f0a11ee182b7d455e01a15a6ad2a3a"
"""Digest that the shipped file must have, whatever the file itself records."""

UNIT = 255 * 0.226
"""Ratio of caffe's features to those of caffe-unit: the input of caffe has a range of 255, the input of
torchvision a range of 1 / 0.226 (0.226 is the mean of 0.229, 0.224 and 0.225)."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Holds one set of VGG19 weights, for pictures in RGB [0, 1].

    Attributes:
      name: the name or path that was loaded.
      path: the file they were read from.
      source: where the numbers come from.
      licence: the terms under which they may be used.
      sha256: the digest of tensors and preprocessing, already checked.
      params: NumPy float32, in RGB order: `{"input": {"scale": [], "mean": [3], "std": [3]},
        "conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}`; the first convolution gets
        `(rgb * scale - mean) / std`.
    """

    name: str
    path: Path
    source: str
    licence: str
    sha256: str
    params: dict[str, dict[str, np.ndarray]] = field(repr=False)


class WeightsRecord(NamedTuple):
    """Describes one named set of weights, for `list_weights`.

    Attributes:
      name: what `load_weights` takes.
      location: the path of the file, the path and "(damaged)", or "not fetched".
      source: where the numbers come from.
      licence: the terms under which they may be used.
      sha256: the digest; empty if the file is damaged or missing.
    """

    name: str
    location: str
    source: str
    licence: str
    sha256: str


TORCHVISION = Source(
    url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    size=574_673_361,
)


def load_weights(name: str | os.PathLike[str] = "caffe") -> Weights:
    """Reads weights, checks their digest, and converts them to float32 for RGB input.

    Args:
      name: "caffe" (shipped), "caffe-unit", "torchvision" (after `fetch`), or the path of an .h5 file of the
        schema in weights/README.md; default "caffe". "caffe-unit" is the same network for input of unit
        variance: its features are caffe's divided by `UNIT`. They are about as large as torchvision's, so the
        loss weights of most PyTorch code fit it.

    Returns:
      The weights as NumPy arrays, with their origin.

    Raises:
      InputError: the name is unknown, or the file is missing, truncated, damaged or of another schema.
    """
    path = _find(name)
    status = path.stat()
    return _load(str(name), path, (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=1)
def _load(name: str, path: Path, version: tuple[int, int]) -> Weights:
    """Reads weights once for many runs; `version` (time and size) changes when the file does."""
    del version
    tensors, trained, attributes = _read(path)
    _check_shipped(name, attributes["sha256"])
    layers = {
        layer: {"kernel": _float_kernel(parts), "bias": parts["bias"]} for layer, parts in tensors.items()
    }
    mean, std = np.array(trained.mean, np.float32), np.array(trained.std, np.float32)
    if trained.channel_order == "BGR":  # flipped here once, so that no picture has to be
        mean, std = mean[::-1].copy(), std[::-1].copy()
        layers["conv1_1"]["kernel"] = np.ascontiguousarray(layers["conv1_1"]["kernel"][:, :, ::-1])
    preprocessing = {"scale": np.array(trained.input_scale, np.float32), "mean": mean, "std": std}
    if name == "caffe-unit":  # ReLU and pooling are homogeneous, so input and biases shrink alike
        preprocessing["std"] = std * np.float32(UNIT)
        for parts in layers.values():
            parts["bias"] = parts["bias"] / np.float32(UNIT)
    return Weights(name, path, **attributes, params={"input": preprocessing, **layers})


def list_weights() -> list[WeightsRecord]:
    """Lists every named set of weights with its location, source, licence and digest.

    Returns:
      One record per name, in the order of `NAMES`.
    """
    records = []
    for name in NAMES:
        licence = LICENCE[name.partition("-")[0]]
        location, about = "not fetched", {"source": TORCHVISION.url, "licence": licence, "sha256": ""}
        with contextlib.suppress(InputError):
            path = _find(name)
            location = f"{path} (damaged)"
            about = _read(path)[2]
            location = str(path)
        records.append(WeightsRecord(name, location, **about))
    return records


def verify(name: str | os.PathLike[str] = "caffe") -> str:
    """Recomputes the digest of a weights file and compares it with the recorded one.

    Args:
      name: "caffe", "caffe-unit", "torchvision" or the path of an .h5 file; default "caffe".

    Returns:
      The digest, 64 hex digits.

    Raises:
      InputError: the digests differ, the name is unknown, or the file is missing, truncated or of another
        schema.
    """
    sha256 = _read(_find(name))[2]["sha256"]
    _check_shipped(name, sha256)
    return sha256


def fetch(
    name: str = "torchvision",
    *,
    source: Source = TORCHVISION,
    cache: str | os.PathLike[str] | None = None,
    file: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Path:
    """Downloads, checks and converts weights that are not shipped, and keeps only the result (80 MB).

    An interrupted download resumes. Nothing is downloaded if the cache already has an undamaged result.

    Args:
      name: "torchvision"; default "torchvision". The names of shipped weights return their path at once.
      source: the file to download; default: torchvision's own checkpoint, 548 MiB.
      cache: folder for the result; default: `cache_folder()`.
      file: a local copy to convert instead of downloading. A .pth file must have the SHA-256 of `source`;
        of a .safetensors file only names and shapes are checked. Default None.
      progress: whether to show a progress bar on standard error; default True.

    Returns:
      The path of the converted .h5 file.

    Raises:
      InputError: there is no network, the connection broke, the bytes have another hash, PyTorch is needed
        and missing, the file is not a VGG19, or the cache folder cannot be used.
    """
    if choose("weights", name, NAMES) in SHIPPED:
        return _shipped()
    folder = Path(cache) if cache else cache_folder()
    target = folder / f"vgg19_{name}.h5"
    if file is None and target.is_file():
        with contextlib.suppress(InputError):  # a damaged file is fetched again
            _read(target)
            return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file is not None:
            sha256 = None if Path(file).suffix.lower() == ".safetensors" else source.sha256
            convert(Path(file), target, preprocessing=name, expected_sha256=sha256)
        else:
            require("torch")  # checked before half a gigabyte is downloaded
            checkpoint = download(source, folder, progress)
            convert(checkpoint, target, preprocessing=name)
            checkpoint.unlink()
    except OSError as error:
        advice = "set JAXNST_CACHE to a folder with 700 MB to spare"
        raise InputError(f"weights: {folder} cannot be used ({error}); {advice}.") from error
    return target


def cache_folder() -> Path:
    """Finds the folder that the environment variable JAXNST_CACHE names, or else the user's cache folder.

    Returns:
      The path of the folder, which may not exist yet.
    """
    import platformdirs

    return Path(os.environ.get("JAXNST_CACHE") or platformdirs.user_cache_dir("jaxnst"))


def _find(name: str | os.PathLike[str]) -> Path:
    path = Path(name)
    if path.suffix in (".h5", ".hdf5") or len(path.parts) > 1:
        if not path.is_file():
            raise InputError(f"weights: there is no file {path}.")
        return path
    try:
        chosen = choose("weights", str(name), NAMES)
    except InputError as error:
        raise InputError(f"{error} Or give the path of an .h5 file.") from None
    if chosen in SHIPPED:
        return _shipped()
    path = cache_folder() / f"vgg19_{chosen}.h5"
    if not path.is_file():
        raise InputError(f"weights: {chosen!r} is not fetched yet; run: jaxnst weights fetch {chosen}")
    return path


def _check_shipped(name: str | os.PathLike[str], sha256: str) -> None:
    if str(name) in SHIPPED and sha256 != CAFFE_SHA256:
        raise InputError(
            f"weights: the shipped file has SHA-256 {sha256}, not {CAFFE_SHA256}; install jaxnst again."
        )


def _shipped() -> Path:
    package = Path(__file__).parents[2]
    for folder in (package / "data", package.parent / "weights"):  # installed, or a source checkout
        if (folder / "vgg19_caffe.h5").is_file():
            return folder / "vgg19_caffe.h5"
    raise InputError("weights: the shipped file vgg19_caffe.h5 is missing; install jaxnst again.")


def _read(path: Path) -> tuple[Tensors, Preprocessing, dict[str, str]]:
    """Reads and checks a file: tensors as stored, preprocessing, and {source, licence, sha256}."""
    mismatch = f"weights: {path} does not follow the schema in weights/README.md"
    try:
        with h5py.File(path) as file:
            attributes: dict[str, Any] = dict(file.attrs)
            tensors = {layer: _arrays(file[layer]) for layer in SHAPES}
    except (KeyError, TypeError) as error:
        raise InputError(f"{mismatch}: {error.args[0]}.") from None
    except (OSError, RuntimeError):
        raise InputError(f"weights: {path} is not an HDF5 file, or is truncated.") from None
    missing = {"architecture", "source", "licence", "sha256", *Preprocessing._fields} - set(attributes)
    if missing:
        raise InputError(f"{mismatch}: it lacks the attributes {sorted(missing)}.")
    if attributes["architecture"] != "vgg19" or attributes["channel_order"] not in ("RGB", "BGR"):
        raise InputError(f"{mismatch}: it is not for vgg19, or its channel_order is neither RGB nor BGR.")
    if not np.shape(attributes["mean"]) == np.shape(attributes["std"]) == (3,):
        raise InputError(f"{mismatch}: mean and std must have 3 numbers each.")
    check_tensors(tensors, path)
    mean, std = attributes["mean"].tolist(), attributes["std"].tolist()
    trained = Preprocessing(attributes["channel_order"], mean, std, float(attributes["input_scale"]))
    recorded, actual = attributes["sha256"], digest(tensors, trained)
    if actual != recorded:
        raise InputError(f"weights: {path} is damaged: it records SHA-256 {recorded} but has {actual}.")
    return tensors, trained, {key: attributes[key] for key in ("source", "licence", "sha256")}


def _arrays(group: Any) -> dict[str, np.ndarray]:
    parts = ("kernel", "codebook", "bias") if "codebook" in group else ("kernel", "bias")
    return {part: group[part][()] for part in parts}


def _float_kernel(parts: dict[str, np.ndarray]) -> np.ndarray:
    if "codebook" not in parts:
        return parts["kernel"]
    # "clip" skips the bounds check, which 8-bit indices cannot fail: 50 ms for all layers instead of 62.
    return np.take(parts["codebook"], parts["kernel"], mode="clip")
