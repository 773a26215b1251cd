"""What the parity tests compare: pictures, cases, PyTorch's numbers (live or golden), and the distance.

Golden numbers are summaries of PyTorch's arrays, kept in `golden/`, so that parity is still proven where
torch is not installed. `python tests/golden/make.py` writes them anew.
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
"""Every form; those that no preset covers, on every picture."""
OPTIMIZERS = {"adam": 0.01, "adagrad": 0.01, "sgd": 5e-12}
"""Names and learning rates of the trajectories, small enough that rounding does not grow over 50 steps."""


@functools.cache
def picture(name, size):
    """One of content, style, noise; float32 [H, W, 3], from 8 bits, the same everywhere.

    The style picture of a size has other sides than the content, so that every Gram form meets two `M`.
    """
    with np.load(GOLDEN / "pictures.npz") as file:
        return file[f"{name}/{size}"].astype(np.float32) / 255


@functools.cache
def image(name, size):
    """The picture being made: the photo with its mirror image over it, or noise."""
    noise = picture("noise", size)
    content = picture("content", size)
    return noise if name == "noise" else np.float32(0.7) * content + np.float32(0.3) * content[:, ::-1]


def projections(array, count=16):
    """Sums of an array's elements with pseudo-random signs, in float64; their spread is the array's norm."""
    flat = np.asarray(array, np.float64).ravel()
    mixed = (np.arange(flat.size, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    negative = [(mixed >> np.uint64(63 - k)).astype(np.uint8) & 1 for k in range(count)]
    return np.array([flat.sum() - 2 * flat[of.astype(bool)].sum() for of in negative])


def summary(array):
    """What a golden file keeps of an array: all of a small one, else its norm and its projections."""
    array = np.asarray(array, np.float64)
    return array if array.size <= 128 else np.array([np.linalg.norm(array), *projections(array)])


def relative_error(mine, reference):
    """Relative L2 error of an array against a whole array, or its estimate against a summary."""
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
    """All 37 layers of a picture, `{layer: [H, W, C]}`."""
    import torch_reference as reference

    found = reference.features(_network(pooling), _tensor(image(name, size)), reference.LAYERS)
    return {layer: value.permute(1, 2, 0).numpy() for layer, value in found.items()}


def torch_losses(preset, name, size, styles=("style",), mix=(1.0,)):
    """Total, parts and gradient of a `torch_reference.Preset`."""
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
    """A published system as the reference transcribes it."""
    import torch_reference

    return torch_reference.presets[name]


def torch_form(gram, norm):
    """A Gram form and norm over all loss parts; the content's form goes with the Gram's."""
    return dataclasses.replace(
        torch_preset("ranka"), gram=gram, norm=norm.upper(), content=content_form(gram), content_weight=0.5
    )


def content_form(gram):
    """The form of the content loss that is tested together with a Gram form."""
    return "sum" if gram in ("gatys", "hw") else "mean"


def torch_trajectory(optimizer):
    """Losses before each of 50 steps of the `ranka` objective on 96x64 pixels."""
    import torch

    factory = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad, "sgd": torch.optim.SGD}[optimizer]
    return _torch_minimise("96x64", lambda p: factory(p, lr=OPTIMIZERS[optimizer]), 50)


def torch_lbfgs():
    """Losses of 100 steps of torch.optim.LBFGS on 128x128 pixels, history 20, and the loss after them."""
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


def live():
    """Every number of PyTorch that is compared: pairs of a key and a function that computes its arrays."""
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
    """The summaries that `golden/make.py` stored under a key."""
    with np.load(GOLDEN / "parity.npz") as file:
        return {name.rsplit("|", 1)[1]: file[name] for name in file.files if name.rsplit("|", 1)[0] == key}
