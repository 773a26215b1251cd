"""Computes what a step takes before any device is at hand: memory, arithmetic and traffic as XLA compiles it.

`python -m benchmarks.sizing` compiles steps for virtual CPU devices and runs none of them. It writes
`benchmarks/results/sizing.json` and the tables in docs/scaling.md.
"""

from __future__ import annotations

import functools
import math
import os
import re
from pathlib import Path
from typing import Any

MARKS = ("<!-- sizing -->", "<!-- /sizing -->")

CASES = [
    *((size, 1, rows) for size in (512, 1024, 2048, 4096, 8192) for rows in (1, 8)),
    *((size, 1, rows) for size in (4096, 8192) for rows in (2, 4)),
    *((16384, 1, rows) for rows in (8, 16, 32, 64)),
    (512, 8, 1),
    (1024, 8, 1),
    (2048, 2, 4),
    (512, 64, 1),
    (4096, 8, 8),
]
"""Side of a square picture, number of pairs, and number of devices for the rows of each picture."""

DEVICES_PER_HOST = 8

MEMORY_SIZES = (24e9, 80e9)
"""Memory of a device in bytes: one column of the second table for each."""

OPERATIONS_PER_SECOND = 100e12
"""Sustained speed of a device, which the table's times assume; scale them to your device."""


def compiled_step(size: int, pairs: int, rows: int) -> Any:
    """Compiles one step of the default settings for shapes, without any data.

    Args:
      size: side of a square picture, in pixels.
      pairs: number of pictures made at once, each on devices of its own.
      rows: number of devices for the rows of each picture.

    Returns:
      The program, a `jax.stages.Compiled`.
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    from jaxnst.config.build import to_learning_rate, to_loss_weights, to_problem, to_transforms
    from jaxnst.config.presets import PLAIN
    from jaxnst.core import objective, solver, vgg
    from jaxnst.core.sharding import ONE_DEVICE, OverDevices, make_mesh
    from jaxnst.io.weights.load import load_weights
    from jaxnst.run.state import State
    from jaxnst.run.steps import Steps

    config, lanes = PLAIN.replace(size=size).checked(), pairs > 1
    problem, placement = to_problem(config), ONE_DEVICE
    if pairs * rows > 1:
        placement = OverDevices(make_mesh(jax.devices()[: pairs * rows], rows))

    def placed(leaf: Any, *axes: str | None) -> jax.ShapeDtypeStruct:
        sharding = None
        if isinstance(placement, OverDevices):
            sharding = NamedSharding(placement.mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    def spread(leaf: Any) -> jax.ShapeDtypeStruct:
        """Spreads the pairs and, in pictures and feature maps `[..., H, W, C]`, the rows."""
        axes: list[str | None] = [None] * leaf.ndim
        axes[:lanes] = ["pairs"] * lanes
        if leaf.ndim >= 3 + lanes:
            axes[-3] = "rows"
        return placed(leaf, *axes)

    def stacked(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((pairs, *leaf.shape) if lanes else leaf.shape, leaf.dtype)

    picture = jax.ShapeDtypeStruct((size, size, 3), jnp.float32)
    params = vgg.up_to_deepest(load_weights("caffe").params, problem.objective.layers)
    make_targets = functools.partial(objective.make_targets, problem.objective, look=placement.look)
    targets = jax.eval_shape(make_targets, params, picture, [picture])
    loss_weights, learning_rate = to_loss_weights(config, 1), jnp.float32(to_learning_rate(config))
    by_pair = jax.tree.map(
        lambda leaf: spread(stacked(leaf)), (targets, loss_weights, learning_rate, (), to_transforms(config))
    )
    inputs = solver.Inputs(jax.tree.map(placed, params), *by_pair)
    axes = (*(None for _ in jax.tree.leaves(params)), *(0 for _ in jax.tree.leaves(by_pair)))
    steps = Steps(problem, placement, axes if lanes else None)
    keys = stacked(jax.eval_shape(jax.random.key, 0))
    state = jax.eval_shape(steps.start, inputs, stacked(picture), keys)
    state = State(0, 0, *jax.tree.map(spread, state.arrays))
    return steps.lower((size, size), inputs, state).compile()


def figures(compiled: Any) -> dict[str, int]:
    """Computes what each device needs: peak memory and sent data, in bytes, and floating-point operations."""
    memory = compiled.memory_analysis()
    arrays = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "memory_bytes": arrays + memory.temp_size_in_bytes,
        "flops": int(compiled.cost_analysis()["flops"]),
        **traffic(compiled.as_text()),
    }


def traffic(program: str) -> dict[str, int]:
    """Counts what a device exchanges with others in one step.

    Args:
      program: the compiled program as text. The body of a loop counts once.
    """
    pattern = r"= (\(?[a-z]+\d+\[[^=]*?) (collective-permute|all-reduce|all-gather|all-to-all)(?:-start)?\("
    exchanges = re.findall(pattern, program)
    sizes = [
        math.prod(map(int, filter(None, sides.split(",")))) * int(bits) // 8
        for shape, _ in exchanges
        for bits, sides in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", shape)
    ]
    kinds = [kind for _, kind in exchanges]
    return {
        "sent_bytes": sum(sizes),
        "neighbour_exchanges": kinds.count("collective-permute"),
        "sums": kinds.count("all-reduce"),
        "collections": kinds.count("all-gather") + kinds.count("all-to-all"),
    }


def table(rows: list[dict[str, int]]) -> str:
    """Writes the tables of docs/scaling.md from the rows of the results."""
    lines = [
        "| picture | hosts x devices | pairs at once | memory of each | TFLOP a step, each | "
        "sent a step, each | step at 100 TFLOP/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["pairs"] > 1, row["size"], row["rows"] * row["pairs"])):
        devices = row["pairs"] * row["rows"]
        cells = (
            f"{row['size']}x{row['size']}",
            f"{-(-devices // DEVICES_PER_HOST)} x {min(devices, DEVICES_PER_HOST)}",
            row["pairs"],
            f"{row['memory_bytes'] / 1e9:.2f} GB",
            f"{row['flops'] / 1e12:.2f}",
            f"{row['sent_bytes'] / 1e6:.0f} MB",
            f"{1000 * row['flops'] / OPERATIONS_PER_SECOND:.1f} ms",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", *_fewest_devices(rows)])


def _fewest_devices(rows: list[dict[str, int]]) -> list[str]:
    """Writes a table of the fewest devices, among the measured numbers, whose memory holds one picture."""
    columns = [f"of {memory / 1e9:.0f} GB" for memory in MEMORY_SIZES]
    lines = [f"| one picture | devices {' | devices '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for size in sorted({row["size"] for row in rows}):
        needed = {
            row["rows"]: row["memory_bytes"] for row in rows if (row["size"], row["pairs"]) == (size, 1)
        }
        fewest = [
            min((count for count in needed if needed[count] <= memory), default="") for memory in MEMORY_SIZES
        ]
        lines.append(f"| {size}x{size} | {' | '.join(map(str, fewest))} |")
    return lines


def put(text: str, new: str) -> str:
    """Replaces the text between a page's marks."""
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n{new}\n{MARKS[1]}{after}"


def main() -> None:
    """Compiles every case and writes the results and the tables."""
    count = max(pairs * devices for _, pairs, devices in CASES)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    import jax

    from benchmarks.measure import write

    rows = []
    for size, pairs, devices in CASES:
        rows.append(
            {"size": size, "pairs": pairs, "rows": devices, **figures(compiled_step(size, pairs, devices))}
        )
        print(rows[-1], flush=True)
    write(Path("benchmarks/results/sizing.json"), {"jax": jax.__version__, "rows": rows})
    page = Path("docs/scaling.md")
    page.write_text(put(page.read_text(encoding="utf-8"), table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
