"""What a step takes, before any device is at hand: memory, arithmetic and traffic as XLA compiles it.

`python -m benchmarks.sizing` compiles the steps for virtual CPU devices, runs none of them, and writes
`benchmarks/results/sizing.json` and the tables in docs/scaling.md.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
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
"""Sides of square pictures; over how many devices go pairs, one on each, and the rows of each picture."""

OF_A_HOST = 8
"""Devices."""

MEMORIES = (24e9, 80e9)
"""Of devices, in bytes, for which the table of the fewest has a column."""

SUSTAINED = 100e12
"""Operations a second that the table's times suppose; scale them to your device."""


def compiled_step(size: int, pairs: int, rows: int) -> Any:
    """One step of the default settings, compiled for so many devices; arrays are but shapes."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    from jaxnst.config.build import to_loss_weights, to_problem, to_transforms
    from jaxnst.config.config import Config
    from jaxnst.core import objective, solver, vgg
    from jaxnst.core.compilation import OPTIONS
    from jaxnst.core.sharding import spread as sharding
    from jaxnst.core.sharding.rows import Rows
    from jaxnst.io.weights.load import load_weights
    from jaxnst.run import loop as run
    from jaxnst.run import vectorised as lanes

    config, mesh = Config(size=size).checked(), None
    problem = to_problem(config)
    if pairs * rows > 1:
        mesh = sharding.make_mesh(jax.devices()[: pairs * rows], rows)
    if rows > 1:
        assert mesh is not None
        of = dataclasses.replace(problem.objective, rows=Rows(mesh))
        problem = dataclasses.replace(problem, objective=of)

    def shape(*of: int) -> Any:
        return jax.ShapeDtypeStruct(of, jnp.float32)

    params = vgg.up_to_deepest(load_weights("caffe").params, problem.objective.layers)
    make_targets = functools.partial(objective.make_targets, problem.objective)
    targets = jax.eval_shape(make_targets, params, shape(size, size, 3), [shape(size, size, 3)])
    inputs = solver.Inputs(params, targets, to_loss_weights(config, 1), shape(), (), to_transforms(config))
    inputs = jax.eval_shape(lambda inputs: inputs, inputs)
    of_lane = targets._replace(terms=jax.tree.map(lambda _: pairs > 1, targets.terms))
    lane = jax.tree.map(lambda _: False, inputs)._replace(targets=of_lane)

    def placed(leaf: Any, *axes: str | None) -> Any:
        spec = None if mesh is None else NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=spec)

    def input_of(leaf: Any, lane: bool) -> Any:
        axes: list[str | None] = ["rows" if rows > 1 and len(leaf.shape) == 3 else None]
        if not lane:
            return placed(leaf, *axes[: len(leaf.shape)])
        return placed(
            jax.ShapeDtypeStruct((pairs, *leaf.shape), leaf.dtype), "pairs", *axes[: len(leaf.shape)]
        )

    def state_of(leaf: Any) -> Any:
        if isinstance(leaf, sharding.Spread):
            return dataclasses.replace(leaf, padded=placed(leaf.padded, *leaf.sharding.spec))
        return placed(leaf, *(["pairs"] if pairs > 1 else []))

    spread = functools.partial(jax.tree.map, state_of, is_leaf=lambda leaf: isinstance(leaf, sharding.Spread))
    key, picture = jax.eval_shape(jax.random.key, 0), shape(size, size, 3)
    at = jax.tree.map(input_of, inputs, lane)
    options: dict[str, Any] = {"compiler_options": OPTIONS["cpu"], "donate_argnums": 3}
    if pairs == 1:
        state = jax.eval_shape(functools.partial(run._start, problem, mesh), inputs, picture, key)
        step = jax.jit(inspect.unwrap(run._step), static_argnums=0, **options)
        return step.lower(problem, at, *spread(state)).compile()
    axes = tuple(0 if each else None for each in jax.tree.leaves(lane))
    pictures, keys = shape(pairs, size, size, 3), jax.ShapeDtypeStruct((pairs,), key.dtype)
    state = jax.eval_shape(functools.partial(lanes._start, problem, mesh, axes), at, pictures, keys)
    step = jax.jit(inspect.unwrap(lanes._advance), static_argnums=(0, 1), **options)
    return step.lower(problem, axes, at, spread(state)).compile()


def figures(compiled: Any) -> dict[str, int]:
    """Of each device: peak memory and what it sends, in bytes, and floating-point operations."""
    memory = compiled.memory_analysis()
    arrays = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "memory_bytes": arrays + memory.temp_size_in_bytes,
        "flops": int(compiled.cost_analysis()["flops"]),
        **traffic(compiled.as_text()),
    }


def traffic(program: str) -> dict[str, int]:
    """What a device exchanges with others in one step, by the compiled program; loops are counted once."""
    pattern = r"= (\(?[a-z]+\d+\[[^=]*?) (collective-permute|all-reduce|all-gather|all-to-all)(?:-start)?\("
    found = re.findall(pattern, program)
    sizes = [
        math.prod(map(int, filter(None, sides.split(",")))) * int(bits) // 8
        for shape, _ in found
        for bits, sides in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", shape)
    ]
    kinds = [kind for _, kind in found]
    return {
        "sent_bytes": sum(sizes),
        "neighbour_exchanges": kinds.count("collective-permute"),
        "sums": kinds.count("all-reduce"),
        "collections": kinds.count("all-gather") + kinds.count("all-to-all"),
    }


def table(rows: list[dict[str, int]]) -> str:
    """The tables of docs/scaling.md."""
    lines = [
        "| picture | hosts x devices | pairs at once | memory of each | TFLOP a step, each | "
        "sent a step, each | step at 100 TFLOP/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["pairs"] > 1, row["size"], row["rows"] * row["pairs"])):
        devices = row["pairs"] * row["rows"]
        cells = (
            f"{row['size']}x{row['size']}",
            f"{-(-devices // OF_A_HOST)} x {min(devices, OF_A_HOST)}",
            row["pairs"],
            f"{row['memory_bytes'] / 1e9:.2f} GB",
            f"{row['flops'] / 1e12:.2f}",
            f"{row['sent_bytes'] / 1e6:.0f} MB",
            f"{1000 * row['flops'] / SUSTAINED:.1f} ms",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", *_fewest(rows)])


def _fewest(rows: list[dict[str, int]]) -> list[str]:
    """Over how few of the numbers of devices above the rows of one picture can go."""
    told = [f"of {memory / 1e9:.0f} GB" for memory in MEMORIES]
    lines = [f"| one picture | devices {' | devices '.join(told)} |", f"|---{'|---' * len(told)}|"]
    for size in sorted({row["size"] for row in rows}):
        of = {row["rows"]: row["memory_bytes"] for row in rows if (row["size"], row["pairs"]) == (size, 1)}
        fewest = [min((count for count in of if of[count] <= memory), default="") for memory in MEMORIES]
        lines.append(f"| {size}x{size} | {' | '.join(map(str, fewest))} |")
    return lines


def put(text: str, new: str) -> str:
    """The page with the new table between its marks."""
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n{new}\n{MARKS[1]}{after}"


def main() -> None:
    """Compile, and write the results and the table."""
    count = max(pairs * of_rows for _, pairs, of_rows in CASES)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    import jax

    from benchmarks.measure import write

    rows = []
    for size, pairs, of_rows in CASES:
        found = figures(compiled_step(size, pairs, of_rows))
        rows.append({"size": size, "pairs": pairs, "rows": of_rows, **found})
        print(rows[-1], flush=True)
    write(Path("benchmarks/results/sizing.json"), {"jax": jax.__version__, "rows": rows})
    page = Path("docs/scaling.md")
    page.write_text(put(page.read_text(encoding="utf-8"), table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
