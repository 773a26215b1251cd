"""Neural style transfer in PyTorch, transcribed from the papers, as a reference for jaxnst's numbers.

It reads jaxnst's weight file and uses nothing of jaxnst's code. A picture is a tensor [H, W, 3],
RGB in [0, 1]; a feature map is [N, H_l, W_l], with N channels and M = H_l * W_l positions. Features have the
network's dtype, float32 or float64.
"""

import dataclasses

import h5py
import numpy as np
import torch
from torch import nn

torch.set_num_threads(1)  # test processes share the cores, and OpenMP's threads spin while they wait

# ---- the network ----

BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))  # convolutions and channels, up to each pooling
LAYERS = []
for block, (convs, _) in enumerate(BLOCKS, start=1):
    for i in range(1, convs + 1):
        LAYERS += [f"conv{block}_{i}", f"relu{block}_{i}"]
    LAYERS.append(f"pool{block}")
POOLINGS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class VGG19(nn.Sequential):
    """The 37 modules of `torchvision.models.vgg19().features`, with its state-dict names ("0.weight", ...).

    The ReLUs do not work in place, so `conv*` features are those before the ReLU. The attributes describe the
    input that the weights were trained on; `load_network` sets them.
    """

    def __init__(self, pooling="max"):
        modules, inputs = [], 3
        for convs, outputs in BLOCKS:
            for _ in range(convs):
                modules += [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.ReLU(inplace=False)]
                inputs = outputs
            modules.append(POOLINGS[pooling](kernel_size=2, stride=2))
        super().__init__(*modules)
        self.channel_order = "RGB"
        self.input_scale = 1.0
        self.register_buffer("mean", torch.zeros(3), persistent=False)
        self.register_buffer("std", torch.ones(3), persistent=False)


def load_network(h5_path, pooling="max", dtype=torch.float32):
    """Returns a frozen `VGG19` with the weights and preprocessing of a jaxnst HDF5 file."""
    network = VGG19(pooling).to(dtype)
    state = {}
    with h5py.File(h5_path, "r") as file:
        for index, name in enumerate(LAYERS):
            if not name.startswith("conv"):
                continue
            kernel = file[name]["kernel"][()]
            if "codebook" in file[name]:
                kernel = file[name]["codebook"][()][kernel]
            state[f"{index}.weight"] = torch.tensor(kernel.transpose(3, 2, 0, 1), dtype=dtype)
            state[f"{index}.bias"] = torch.tensor(file[name]["bias"][()], dtype=dtype)
        order = file.attrs["channel_order"]
        network.channel_order = order.decode() if isinstance(order, bytes) else str(order)
        network.input_scale = float(file.attrs["input_scale"])
        network.mean = torch.tensor(np.asarray(file.attrs["mean"], np.float64), dtype=dtype)
        network.std = torch.tensor(np.asarray(file.attrs["std"], np.float64), dtype=dtype)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def preprocess(network, image):
    """Returns a picture [H, W, 3] as the [3, H, W] that the weights were trained on."""
    scaled = image.to(network.mean.dtype) * network.input_scale
    if network.channel_order == "BGR":
        scaled = scaled.flip(-1)
    return ((scaled - network.mean) / network.std).permute(2, 0, 1)


def features(network, image, layers):
    """Returns {name: tensor [N, H_l, W_l]} of the named layers; nothing deeper is computed."""
    last = max(LAYERS.index(name) for name in layers)
    maps, x = {}, preprocess(network, image)[None]
    for name, module in zip(LAYERS[: last + 1], network, strict=False):
        x = module(x)
        if name in layers:
            maps[name] = x[0]
    return maps


# ---- the losses ----

NORMS = {"L2": torch.square, "L1": torch.abs}  # L1 replaces each square; the constants stay as they are
CONTENT_FORMS = {"sum": lambda difference: difference.sum() / 2, "mean": torch.mean}
# G as a multiple of F^T F / M, and the layer term of d = (G - A)^2 or |G - A|; n channels, m positions.
GRAM_FORMS = {
    "gatys": (lambda n, m: m, lambda d, n, m: d.sum() / (4 * n**2 * m**2)),
    "hw": (lambda n, m: 1, lambda d, n, m: d.mean()),
    "chw": (lambda n, m: 1 / n, lambda d, n, m: d.mean()),
    "dhw": (lambda n, m: m, lambda d, n, m: d.mean() / (n * m)),
}


def content_loss(feature, target, form="sum", norm="L2"):
    return CONTENT_FORMS[form](NORMS[norm](feature - target))


def mean_gram(feature):
    """Returns F^T F / M, [N, N], with the feature map's own M, so that pictures of two sizes compare."""
    F = feature.flatten(1).T
    return F.T @ F / F.shape[0]


def style_term(feature, style_mean_gram, form="gatys", norm="L2"):
    """Returns one layer's term, unweighted.

    If the form does not divide G by M, the style's Gram matrix is scaled to the number of positions of the
    picture being made (A = M * style_mean_gram). For two pictures of one size this is the published formula.
    """
    n, m = feature.shape[0], feature.shape[1] * feature.shape[2]
    scale, term = GRAM_FORMS[form]
    G = scale(n, m) * mean_gram(feature)
    A = scale(n, m) * style_mean_gram
    return term(NORMS[norm](G - A), n, m)


def total_variation(image):
    return image.diff(dim=1).abs().mean() + image.diff(dim=0).abs().mean()


# ---- the published systems ----

RELU_X1 = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
# The first five, as the PyTorch tutorial counts: "conv_1" ... "conv_5".
CONV_1_TO_5 = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
RELU_1_TO_5 = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")
ONES, FIFTHS = (1.0,) * 5, (0.2,) * 5


@dataclasses.dataclass(frozen=True)
class Preset:
    """One published objective; `dataclasses.replace` makes variants."""

    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    layer_weights: tuple[float, ...]
    pooling: str
    gram: str
    content: str
    norm: str
    content_weight: float
    style_weight: float
    tv_weight: float


presets = {
    "gatys": Preset(("relu4_2",), RELU_X1, FIFTHS, "average", "gatys", "sum", "L2", 1, 1e3, 0),
    "ranka": Preset(("relu4_2",), RELU_X1, ONES, "max", "hw", "mean", "L2", 1, 1, 1),
    "jaiswal": Preset(("conv2_2",), CONV_1_TO_5, ONES, "max", "chw", "mean", "L2", 1, 1e5, 0),
    "wang": Preset(("relu3_1",), RELU_X1, FIFTHS, "max", "gatys", "sum", "L2", 1, 1e3, 0),
    "danayak": Preset(("relu4_2",), RELU_X1, (1, 0.75, 0.2, 0.2, 0.2), "max", "dhw", "mean", "L2", 1, 1e6, 0),
    "joshi-hu": Preset(("conv2_2",), CONV_1_TO_5, ONES, "average", "chw", "mean", "L2", 1, 1e6, 0),
    # The report tunes the weights per picture: 1 : 1e3 stands for one such choice.
    "joshi-hu-revised": Preset(("relu3_1",), RELU_1_TO_5, ONES, "average", "chw", "mean", "L1", 1, 1e3, 0),
}

# ---- the objective ----


def objective(network, preset, content, styles, style_mix):
    """Returns image -> (total, {"content", "style", "tv"}), parts unweighted; targets are computed once.

    `style_mix` has one loss weight per style picture: the style part is sum_k mix_k * style_k.
    """
    with torch.no_grad():
        contents = features(network, content, preset.content_layers)
        style_features = [features(network, style, preset.style_layers) for style in styles]
        grams = [{name: mean_gram(F) for name, F in maps.items()} for maps in style_features]

    def loss(image):
        maps = features(network, image, preset.content_layers + preset.style_layers)
        content_part = sum(
            content_loss(maps[name], contents[name], preset.content, preset.norm)
            for name in preset.content_layers
        )
        style_part = sum(
            mix * weight * style_term(maps[name], gram[name], preset.gram, preset.norm)
            for mix, gram in zip(style_mix, grams, strict=True)
            for name, weight in zip(preset.style_layers, preset.layer_weights, strict=True)
        )
        tv_part = total_variation(image)
        total = preset.content_weight * content_part + preset.style_weight * style_part
        total = total + preset.tv_weight * tv_part
        return total, {"content": content_part, "style": style_part, "tv": tv_part}

    return loss


def losses(network, preset, image, content, styles, style_mix):
    """Returns (total, {"content", "style", "tv"}), scalar tensors; the parts are unweighted."""
    return objective(network, preset, content, styles, style_mix)(image)


def loss_and_gradient(network, preset, image, content, styles, style_mix):
    """Returns (total, parts, gradient): floats, and the gradient [H, W, 3] of the total by the picture."""
    image = image.detach().clone().requires_grad_()
    total, parts = losses(network, preset, image, content, styles, style_mix)
    (gradient,) = torch.autograd.grad(total, image)
    return total.item(), {name: part.item() for name, part in parts.items()}, gradient


# ---- closed-form gradients (Wang et al.), by the input of the ReLU that gave the features ----


def content_gradient(feature, target):
    """Returns the gradient [N, H, W] of the content loss `sum`: F - P where F > 0, else 0."""
    return torch.where(feature > 0, feature - target, torch.zeros_like(feature))


def style_gradient(feature, style_mean_gram):
    """Returns the gradient [N, H, W] of the style term `gatys`: F (G - A) / (N^2 M^2) where F > 0, else 0."""
    n, m = feature.shape[0], feature.shape[1] * feature.shape[2]
    F = feature.flatten(1).T
    gradient = F @ (F.T @ F - m * style_mean_gram) / (n**2 * m**2)
    return torch.where(feature > 0, gradient.T.reshape(feature.shape), torch.zeros_like(feature))


# ---- trajectories ----


def minimise(loss_fn, image, optimizer_factory, steps, after_step=None):
    """Returns the losses before each of `steps` optimiser steps, as floats.

    `loss_fn` takes a picture and returns a scalar. `optimizer_factory` takes a list of parameters; L-BFGS
    needs `max_iter=1`, so that a step is one evaluation. `after_step` takes the detached picture after each
    step and may change it in place, for example `lambda image: image.clamp_(0, 1)`.
    """
    image = image.detach().clone().requires_grad_()
    optimizer = optimizer_factory([image])

    def closure():
        optimizer.zero_grad()
        loss = loss_fn(image)
        loss.backward()
        return loss

    history = []
    for _ in range(steps):
        history.append(optimizer.step(closure).item())
        if after_step is not None:
            after_step(image.detach())
    return history


# ---- Joshi and Hu's random shift with fixed parameters ----


def similarity_sample(image, centre, scale, angle):
    """Returns the picture [H, W, C], cropped and rotated bilinearly, with its edges repeated outwards.

    Output pixel p = (row, col) is the input at centre + scale * R(angle) (p - ((H - 1) / 2, (W - 1) / 2)),
    where `centre` is (row, col) in pixels, `angle` is in radians and R = [[cos, -sin], [sin, cos]].
    """
    height, width = image.shape[:2]
    angle = torch.as_tensor(angle, dtype=image.dtype)
    row = torch.arange(height, dtype=image.dtype)[:, None] - (height - 1) / 2
    col = torch.arange(width, dtype=image.dtype)[None, :] - (width - 1) / 2
    source_row = centre[0] + scale * (torch.cos(angle) * row - torch.sin(angle) * col)
    source_col = centre[1] + scale * (torch.sin(angle) * row + torch.cos(angle) * col)
    # grid_sample wants (x, y), from -1 at the centre of the first pixel to 1 at the centre of the last.
    grid = torch.stack([2 * source_col / (width - 1) - 1, 2 * source_row / (height - 1) - 1], dim=-1)
    sampled = nn.functional.grid_sample(
        image.permute(2, 0, 1)[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[0].permute(1, 2, 0)
