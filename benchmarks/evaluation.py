"""Measures one evaluation of loss and gradient: time and peak memory of jaxnst, PyTorch and `torch.compile`.

The programs take turns. A step of a run is timed too, to see what the optimiser and the loop add.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import in_turn, process, ratio, timed
from benchmarks.peer import Evaluation, jaxnst_evaluation, jaxnst_step, torch_evaluation

FLOPS_PER_PIXEL = 2 * 187e9 / 512**2
"""Counts direct convolutions of VGG19 up to conv5_1, forward and for the gradient of the picture."""

PROGRAMS: dict[str, Callable[[int], Evaluation]] = {
    "jaxnst": jaxnst_evaluation,
    "torch": torch_evaluation,
    "torch, channels last": partial(torch_evaluation, channels_last=True),
    "torch.compile": partial(torch_evaluation, compiled=True),
}

STEP = "jaxnst, a step"


def matmul_rate(size: int = 4096) -> float:
    """Measures FLOP/s of JAX's product of two float32 matrices, the best of five."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    product(matrix).block_until_ready()
    return 2 * size**3 / min(timed(lambda: product(matrix).block_until_ready()) for _ in range(5))


def peak_bytes(name: str, size: int) -> int:
    """Measures the peak memory of a process that only evaluates three times; on a GPU, the GPU's memory."""
    return int(process([sys.executable, "-m", "benchmarks.evaluation", name, str(size)]).output.split()[-1])


def measure(sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    """Measures time and memory of all programs at each size.

    Raises:
      RuntimeError: the programs disagree on the loss.
    """
    rows = []
    rate = matmul_rate()
    print(f"float32 matrix product: {rate / 1e9:.0f} GFLOP/s")
    for size in sizes:
        programs = {name: make(size) for name, make in PROGRAMS.items()}
        values = {name: program() for name, program in programs.items()}
        expected = values["torch"]
        if any(abs(value - expected) > 1e-4 * expected for value in values.values()):
            raise RuntimeError(f"the programs disagree on the loss: {values}")
        seconds = in_turn(programs | {STEP: jaxnst_step(size)}, rounds)
        step = seconds.pop(STEP)
        del programs
        memory = {name: peak_bytes(name, size) for name in PROGRAMS}
        ours = statistics.median(seconds["jaxnst"])
        row = {
            "size": size,
            "seconds": {name: round(statistics.median(times), 4) for name, times in seconds.items()},
            "time_to": {
                name: ratio(seconds["jaxnst"], times) for name, times in seconds.items() if name != "jaxnst"
            },
            "step_to_evaluation": ratio(step, seconds["jaxnst"]),
            "peak_bytes": memory,
            "memory_to_torch": round(memory["jaxnst"] / memory["torch"], 3),
            "gflops": round(FLOPS_PER_PIXEL * size**2 / ours / 1e9),
            "of_matmul_rate": round(FLOPS_PER_PIXEL * size**2 / ours / rate, 2),
        }
        rows.append(row)
        ratios = ", ".join(
            f"{name} {times['ratio']:.2f} {times['spread']}" for name, times in row["time_to"].items()
        )
        print(
            f"{size:5d}: {ours:.3f} s, {row['gflops']} GFLOP/s; time relative to {ratios}; "
            f"a step takes {row['step_to_evaluation']['ratio']:.2f} times an evaluation; "
            f"memory {memory['jaxnst'] / 1e9:.2f} GB, {row['memory_to_torch']:.2f} times that of torch",
            flush=True,
        )
    return rows


def peak_of_this_process() -> int:
    """Reads the peak memory of this process, on a GPU that of the GPU, in bytes.

    `ru_maxrss` would not do: a process inherits it from its parent.
    """
    import jax

    on_device = jax.devices()[0].memory_stats() or {}
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    if peak := on_device.get("peak_bytes_in_use"):
        return peak
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    program = PROGRAMS[sys.argv[1]](int(sys.argv[2]))
    for _ in range(3):
        program()
    print(peak_of_this_process())
