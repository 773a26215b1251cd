"""VGG19 weights from files: load, list, verify, and fetch those that are not shipped.

May touch the disk and, in `fetch` alone, the internet. It hands on NumPy arrays for core/vgg.py.
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
"""What the shipped file must have, whatever it records of itself."""

UNIT = 255 * 0.226
"""By what the features of caffe-unit are smaller than caffe's: the input of that has a range of 255, that of
torchvision's network one of 1 / 0.226, the mean of (0.229, 0.224, 0.225)."""


@dataclass(frozen=True, eq=False)
class Weights:
    """One set of VGG19 weights, ready for pictures in RGB [0, 1].

    Attributes:
      name: what the caller asked for.
      path: the file they came from.
      source: where that file's contents come from.
      licence: under which terms.
      sha256: the digest of the tensors and the preprocessing, checked.
      params: NumPy float32, in RGB order: `{"input": {"scale": [], "mean": [3], "std": [3]},
        "conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}`; the first convolution sees
        `(rgb * scale - mean) / std`.
    """

    name: str
    path: Path
    source: str
    licence: str
    sha256: str
    params: dict[str, dict[str, np.ndarray]] = field(repr=False)


class WeightsRecord(NamedTuple):
    """A line of `list_weights`: `location` is a path, "not fetched", or a path and "(damaged)"."""

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
    """Read weights, check their digest, and turn them into float32 for RGB input.

    Args:
      name: "caffe" (shipped), "caffe-unit" (the same network for input of unit variance: all features are
        those of caffe divided by `UNIT`, about as large as torchvision's, for which the weights of content
        and style in most PyTorch code are meant), "torchvision" (after `fetch`), or the path of an .h5 file
        of the schema in weights/README.md; default "caffe".

    Returns:
      The weights as NumPy arrays, with where they come from.

    Raises:
      InputError: the name is unknown, or the file is missing, truncated, of another schema or damaged.
    """
    path = _find(name)
    state = path.stat()
    return _load(str(name), path, (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=1)
def _load(name: str, path: Path, state: tuple[int, int]) -> Weights:
    """Read once what many runs use; `state` tells a changed file from the one that is remembered."""
    del state
    tensors, trained, attributes = _read(path)
    _check_shipped(name, attributes["sha256"])
    layers = {layer: {"kernel": _float_kernel(of), "bias": of["bias"]} for layer, of in tensors.items()}
    mean, std = np.array(trained.mean, np.float32), np.array(trained.std, np.float32)
    if trained.channel_order == "BGR":  # flip what meets the picture, so that nobody flips pictures
        mean, std = mean[::-1].copy(), std[::-1].copy()
        layers["conv1_1"]["kernel"] = np.ascontiguousarray(layers["conv1_1"]["kernel"][:, :, ::-1])
    preprocessing = {"scale": np.array(trained.input_scale, np.float32), "mean": mean, "std": std}
    if name == "caffe-unit":  # ReLU and pooling are homogeneous; biases must shrink as the input does
        preprocessing["std"] = std * np.float32(UNIT)
        layers = {layer: of | {"bias": of["bias"] / np.float32(UNIT)} for layer, of in layers.items()}
    return Weights(name, path, **attributes, params={"input": preprocessing, **layers})


def list_weights() -> list[WeightsRecord]:
    """Every named set of weights: where it is, where it comes from, its licence and digest.

    Returns:
      One record per name; the digest is empty for a file that is damaged or not there.
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
    """Recompute the digest of a weights file and compare it with the recorded one.

    Args:
      name: as for `load_weights`.

    Returns:
      The digest, 64 hex digits.

    Raises:
      InputError: as for `load_weights`.
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
    """Download weights that are not shipped, check and convert them, and keep only the result (80 MB).

    A download that was cut resumes. Nothing is downloaded when the result is already in the cache and sound.

    Args:
      name: "torchvision"; "caffe" is shipped, so that its path is returned at once; default "torchvision".
      source: what to download; default: torchvision's own checkpoint, 548 MiB.
      cache: the folder for the result; default: the environment variable JAXNST_CACHE, or the user's cache.
      file: a copy of that checkpoint, used instead of downloading; its SHA-256 must be `source`'s. A
        .safetensors file has other bytes, so there only names and shapes are checked. Default None.
      progress: show a progress bar on stderr; default True.

    Returns:
      The path of the converted .h5 file.

    Raises:
      InputError: no network, a connection cut half-way, wrong bytes, no PyTorch to read a .pth file with,
        or a file that is not a VGG19.
    """
    if choose("weights", name, NAMES) in SHIPPED:
        return _shipped()
    folder = Path(cache) if cache else cache_folder()
    target = folder / f"vgg19_{name}.h5"
    if file is None and target.is_file():
        with contextlib.suppress(InputError):  # a damaged file is fetched anew
            _read(target)
            return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file is not None:
            sha256 = None if Path(file).suffix.lower() == ".safetensors" else source.sha256
            convert(Path(file), target, preprocessing=name, expected_sha256=sha256)
        else:
            require("torch")  # before half a gigabyte is downloaded in vain
            checkpoint = download(source, folder, progress)
            convert(checkpoint, target, preprocessing=name)
            checkpoint.unlink()
    except OSError as error:
        advice = "set JAXNST_CACHE to a folder with 700 MB to spare"
        raise InputError(f"weights: {folder} cannot be used ({error}); {advice}.") from error
    return target


def cache_folder() -> Path:
    """The folder named by the environment variable JAXNST_CACHE, read now, or else the user's cache.

    Returns:
      Its path; the folder may not exist yet.
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
    """The tensors as they are in the file, the preprocessing, and {source, licence, sha256}; all checked."""
    unlike = f"weights: {path} is not of the schema in weights/README.md"
    try:
        with h5py.File(path) as file:
            attributes: dict[str, Any] = dict(file.attrs)
            tensors = {layer: _arrays(file[layer]) for layer in SHAPES}
    except (KeyError, TypeError) as error:
        raise InputError(f"{unlike}: {error.args[0]}.") from None
    except (OSError, RuntimeError):
        raise InputError(f"weights: {path} is not an HDF5 file, or is truncated.") from None
    missing = {"architecture", "source", "licence", "sha256", *Preprocessing._fields} - set(attributes)
    if missing:
        raise InputError(f"{unlike}: it lacks the attributes {sorted(missing)}.")
    if attributes["architecture"] != "vgg19" or attributes["channel_order"] not in ("RGB", "BGR"):
        raise InputError(f"{unlike}: it is not for vgg19, or its channel_order is neither RGB nor BGR.")
    if not np.shape(attributes["mean"]) == np.shape(attributes["std"]) == (3,):
        raise InputError(f"{unlike}: mean and std must have 3 numbers each.")
    check_tensors(tensors, path)
    mean, std = attributes["mean"].tolist(), attributes["std"].tolist()
    trained = Preprocessing(attributes["channel_order"], mean, std, float(attributes["input_scale"]))
    recorded, found = attributes["sha256"], digest(tensors, trained)
    if found != recorded:
        raise InputError(f"weights: {path} is damaged: it records SHA-256 {recorded} but has {found}.")
    return tensors, trained, {key: attributes[key] for key in ("source", "licence", "sha256")}


def _arrays(group: Any) -> dict[str, np.ndarray]:
    parts = ("kernel", "codebook", "bias") if "codebook" in group else ("kernel", "bias")
    return {part: group[part][()] for part in parts}


def _float_kernel(parts: dict[str, np.ndarray]) -> np.ndarray:
    if "codebook" not in parts:
        return parts["kernel"]
    # "clip" skips a bounds check that 8 bits cannot fail in 256 entries: 50 ms instead of 62 for all layers.
    return np.take(parts["codebook"], parts["kernel"], mode="clip")
