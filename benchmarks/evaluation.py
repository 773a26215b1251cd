"""Loss and gradient, once: jaxnst, PyTorch eager and `torch.compile` in turn; time and peak memory.

And what a step of a run adds to that: the optimiser and the loop.
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
"""VGG19 to conv5_1, forward, and as much again for the gradient of the picture; by direct convolution."""

PROGRAMS: dict[str, Callable[[int], Evaluation]] = {
    "jaxnst": jaxnst_evaluation,
    "torch": torch_evaluation,
    "torch, channels last": partial(torch_evaluation, channels_last=True),
    "torch.compile": partial(torch_evaluation, compiled=True),
}

STEP = "jaxnst, a step"


def matmul_rate(size: int = 4096) -> float:
    """FLOP/s of JAX's product of two float32 matrices, the best of five."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    product(matrix).block_until_ready()
    return 2 * size**3 / min(timed(lambda: product(matrix).block_until_ready()) for _ in range(5))


def peak_bytes(name: str, size: int) -> int:
    """Of a process that does nothing but evaluate three times; on a GPU, of its memory."""
    return int(process([sys.executable, "-m", "benchmarks.evaluation", name, str(size)]).output.split()[-1])


def measure(sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    """Time and memory of all programs at each size.

    Raises:
      RuntimeError: they disagree on the loss.
    """
    found = []
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
            "seconds": {name: round(statistics.median(of), 4) for name, of in seconds.items()},
            "time_to": {
                name: ratio(seconds["jaxnst"], of) for name, of in seconds.items() if name != "jaxnst"
            },
            "step_to_evaluation": ratio(step, seconds["jaxnst"]),
            "peak_bytes": memory,
            "memory_to_torch": round(memory["jaxnst"] / memory["torch"], 3),
            "gflops": round(FLOPS_PER_PIXEL * size**2 / ours / 1e9),
            "of_matmul_rate": round(FLOPS_PER_PIXEL * size**2 / ours / rate, 2),
        }
        found.append(row)
        ratios = ", ".join(f"{name} {of['ratio']:.2f} {of['spread']}" for name, of in row["time_to"].items())
        print(
            f"{size:5d}: {ours:.3f} s, {row['gflops']} GFLOP/s; ratio to {ratios}; "
            f"a step {row['step_to_evaluation']['ratio']:.2f} of an evaluation; "
            f"memory {memory['jaxnst'] / 1e9:.2f} GB, ratio to torch {row['memory_to_torch']:.2f}",
            flush=True,
        )
    return found


def peak_of_this_process() -> int:
    """Not `ru_maxrss`, which a process inherits from the one that started it."""
    import jax

    on_device = jax.devices()[0].memory_stats() or {}
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    if peak := on_device.get("peak_bytes_in_use"):
        return peak
    [line] = (of for of in Path("/proc/self/status").read_text().splitlines() if of.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    program = PROGRAMS[sys.argv[1]](int(sys.argv[2]))
    for _ in range(3):
        program()
    print(peak_of_this_process())
