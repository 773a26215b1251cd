"""The inputs of the parity tests, and PyTorch's numbers for them, computed now or read from `golden/`.

Golden numbers are summaries of PyTorch's arrays, so that parity is tested without torch too.
`python tests/parity/golden/make.py` writes them anew.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = Path(__file__).parents[2] / "weights" / "vgg19_caffe.h5"
SIZES = ("96x64", "225x129")
IMAGES = ("photo", "noise")
PRESET_NAMES = ("gatys", "ranka", "jaiswal", "wang", "danayak", "joshi-hu", "joshi-hu-revised")
FORMS = tuple((gram, norm) for gram in ("gatys", "hw", "chw", "dhw") for norm in ("l2", "l1"))
FORM_CASES = tuple(
    (gram, norm, name, size)
    for gram, norm in FORMS
    for name in IMAGES
    for size in SIZES
    if (name, size) == ("photo", "96x64") or (norm == "l1" and gram != "chw")
)
"""Every form on one picture, and the forms that no preset covers on every picture."""
OPTIMIZERS = {"adam": 0.01, "adagrad": 0.01, "sgd": 5e-12}
"""Optimisers and their learning rates, small enough that rounding errors do not grow over `STEPS`."""
STEPS = 20
"""Steps that are compared; the golden numbers are of 50."""


@functools.cache
def picture(name, size):
    """Returns the picture content, style or noise; float32 [H, W, 3], from 8 bits, equal on every machine.

    The sides of the style picture differ from those of the content, so that Gram forms see two values of `M`.
    """
    with np.load(GOLDEN / "pictures.npz") as file:
        return file[f"{name}/{size}"].astype(np.float32) / 255


@functools.cache
def image(name, size):
    """Returns the picture being made: noise, or the photo blended with its mirror image."""
    noise = picture("noise", size)
    content = picture("content", size)
    return noise if name == "noise" else np.float32(0.7) * content + np.float32(0.3) * content[:, ::-1]


def projections(array, count=16):
    """Sums an array's elements with pseudo-random signs, in float64; the sums' spread is the array's norm."""
    flat = np.asarray(array, np.float64).ravel()
    mixed = (np.arange(flat.size, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    negative = [(mixed >> np.uint64(63 - k)).astype(np.uint8) & 1 for k in range(count)]
    return np.array([flat.sum() - 2 * flat[signs.astype(bool)].sum() for signs in negative])


def summary(array):
    """Returns what a golden file keeps: all of a small array, or the norm and projections of a large one."""
    array = np.asarray(array, np.float64)
    return array if array.size <= 128 else np.array([np.linalg.norm(array), *projections(array)])


def relative_error(mine, reference):
    """Returns the relative L2 error of an array, estimated if the reference is a summary."""
    mine, reference = np.asarray(mine, np.float64), np.asarray(reference, np.float64)
    if mine.shape == reference.shape:
        return np.linalg.norm(mine - reference) / np.linalg.norm(reference)
    norm, *expected = reference
    return np.sqrt(np.mean((projections(mine) - expected) ** 2)) / norm


# ---- PyTorch's side; torch is imported only when it runs ----


@functools.cache
def _network(pooling):
    import torch_reference

    return torch_reference.load_network(WEIGHTS, pooling)


def _tensor(array):
    import torch

    return torch.tensor(array)


def torch_features(pooling, name, size):
    """Computes the features of a picture at all 37 layers, `{layer: [H, W, C]}`."""
    import torch_reference as reference

    features = reference.features(_network(pooling), _tensor(image(name, size)), reference.LAYERS)
    return {layer: values.permute(1, 2, 0).numpy() for layer, values in features.items()}


def torch_losses(preset, name, size, styles=("style",), mix=(1.0,)):
    """Computes the total, the parts and the gradient of a `torch_reference.Preset`."""
    import torch_reference as reference

    total, parts, gradient = reference.loss_and_gradient(
        _network(preset.pooling),
        preset,
        _tensor(image(name, size)),
        _tensor(picture("content", size)),
        [_tensor(picture(style, size)) for style in styles],
        list(mix),
    )
    return {"total": total, **parts, "gradient": gradient.numpy()}


def torch_preset(name):
    """Returns the reference's transcription of a published system."""
    import torch_reference

    return torch_reference.presets[name]


def torch_form(gram, norm):
    """Returns an objective with this Gram form and norm, and the content form that goes with them."""
    return dataclasses.replace(
        torch_preset("ranka"), gram=gram, norm=norm.upper(), content=content_form(gram), content_weight=0.5
    )


def content_form(gram):
    """Returns the form of the content loss that is tested together with a Gram form."""
    return "sum" if gram in ("gatys", "hw") else "mean"


def torch_trajectory(optimizer):
    """Computes the losses before each of `STEPS` steps of the `ranka` objective on 96x64 pixels."""
    import torch

    factory = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad, "sgd": torch.optim.SGD}[optimizer]
    return _torch_minimise("96x64", lambda p: factory(p, lr=OPTIMIZERS[optimizer]), STEPS)


def torch_lbfgs():
    """Computes the losses before and after 100 steps of torch.optim.LBFGS on 128x128 pixels, history 20."""
    import torch

    return _torch_minimise("128x128", lambda p: torch.optim.LBFGS(p, max_iter=1, history_size=20), 101)


def _torch_minimise(size, factory, steps):
    import torch_reference as reference

    preset = torch_preset("ranka")
    loss = reference.objective(
        _network(preset.pooling),
        preset,
        _tensor(picture("content", size)),
        [_tensor(picture("style", size))],
        [1.0],
    )
    start = _tensor(image("photo", size))
    return np.array(reference.minimise(lambda x: loss(x)[0], start, factory, steps))


def cases():
    """Yields every compared number of PyTorch: a key and a function that computes the arrays under it."""
    for pooling in ("max", "average"):
        for name in IMAGES:
            for size in SIZES:
                yield (
                    f"features/{pooling}/{name}/{size}",
                    functools.partial(torch_features, pooling, name, size),
                )
    for preset in PRESET_NAMES:
        for name in IMAGES:
            for size in SIZES:
                key = f"preset/{preset}/{name}/{size}"
                yield key, lambda p=preset, n=name, s=size: torch_losses(torch_preset(p), n, s)
    for gram, norm, name, size in FORM_CASES:
        key = f"form/{gram}/{norm}/{name}/{size}"
        yield key, lambda g=gram, n=norm, i=name, s=size: torch_losses(torch_form(g, n), i, s)
    yield (
        "several styles",
        lambda: torch_losses(torch_preset("jaiswal"), "photo", "96x64", ("style", "noise"), (0.7, 0.3)),
    )
    for optimizer in OPTIMIZERS:
        yield f"trajectory/{optimizer}", lambda o=optimizer: {"losses": torch_trajectory(o)}
    yield "trajectory/lbfgs", lambda: {"losses": torch_lbfgs()}


@functools.cache
def golden(key):
    """Reads the summaries that `golden/make.py` stored under a key."""
    with np.load(GOLDEN / "parity.npz") as file:
        return {name.rsplit("|", 1)[1]: file[name] for name in file.files if name.rsplit("|", 1)[0] == key}
