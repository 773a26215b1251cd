"""Many pairs of pictures: read ahead, computed together where one program will do, results as they finish.

Pairs whose pictures come out at one size, under settings that differ in numbers only, are lanes of one
program (see `jaxnst.run.vectorised`). How many at once is for the memory to say. Knows nothing of files written.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxnst.batch.groups import Read, most, results
from jaxnst.config.config import Config
from jaxnst.config.resolve import gather, resolve_config
from jaxnst.errors import InputError, TooLargeError
from jaxnst.io import images
from jaxnst.run import vectorised as lanes
from jaxnst.run.interrupts import Interrupted, stop_on_interrupt
from jaxnst.run.memory_budget import available_bytes, host_bytes
from jaxnst.run.mesh import Devices, for_pairs
from jaxnst.run.plan import Networks, Pictures, Plan, prepare
from jaxnst.run.result import Result

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxnst.io.images import Picture
    from jaxnst.run.checkpoint import Checkpoint
    from jaxnst.run.memory_budget import Tile

log = logging.getLogger("jaxnst")

READERS = 4
"""Threads that read and decode."""

AHEAD = 4 * lanes.MOST_LANES
"""Pairs, for each device, that are read before their turn at most: enough to find lanes among a few sizes."""

SHARE_AHEAD = 0.1
"""Of the host's free memory that these may take."""


class Pair(NamedTuple):
    """What one result is made from."""

    pictures: Pictures
    config: Config


def stylize_batch(
    contents: Picture | Sequence[Picture],
    styles: Any,
    *,
    crossed: bool = False,
    preset: str | None = None,
    config: Config | Sequence[Config] | None = None,
    progress: bool = True,
    tile: Tile = "auto",
    devices: Devices = None,
    **settings: Any,
) -> list[Result | Exception]:
    """Stylise many pairs of pictures; each result is that of `stylize`, but much of the work is shared.

    Args:
      contents: as many pictures as pairs (see `stylize` for what a picture is), or one for all.
      styles: as many, each a picture or a list of several, or one for all.
      crossed: pair every content with every style, the styles of the first content first.
      preset: name of a published system, see `jaxnst.PRESETS`.
      config: a whole `Config` instead, or one for each pair.
      progress: show a progress bar on standard error.
      tile: as for `stylize`; a picture that is cut into tiles is computed alone.
      devices: spread the pairs over several: how many, "all" of this process, a sequence of `jax.Device`, or
        a `jax.sharding.Mesh` with axes `pairs`, `rows` or both. Where a picture is too large for one device,
        its rows go over as few as hold it, or it is cut into tiles. None: the first device alone.
      **settings: fields of `Config` by name, over the preset or config.

    Returns:
      A `Result` for each pair, in order. A pair that diverges, or for which memory runs out even when it is
      alone, ends with its last good picture, as with `stylize`. Where there is none, not even the first, the
      exception stands in its place. The others go on.

    Raises:
      InputError: anything given that cannot work, with the pair's number, before any compilation.
      KeyboardInterrupt: by Ctrl-C.
    """
    pairs = _pairs(images.as_list(contents), images.as_list(styles), crossed)
    configs: list[Any] = list(config) if isinstance(config, list | tuple) else [config] * len(pairs)
    if len(configs) != len(pairs):
        raise InputError(f"config: {len(configs)} for {len(pairs)} pairs; give one for each, or one for all.")
    jobs, networks, meshes = [], Networks(), for_pairs(devices)
    for number, ((content, style), one) in enumerate(zip(pairs, configs, strict=True), start=1):
        try:
            chosen = resolve_config(preset, one, settings)
            jobs.append(Pair(*gather(content, style, None, None, chosen)))
            prepare(*jobs[-1], tile=tile, networks=networks, meshes=meshes)
        except InputError as error:
            raise InputError(f"pair {number}: {error}") from error
    found: dict[int, Result | Exception] = {}
    with stop_on_interrupt() as interrupted, pairs_bar(progress, len(jobs)) as show:
        try:
            for number, result in work_through(jobs, tile, interrupted.is_set, networks, meshes):
                found[number] = result
                show()
        except Interrupted as error:
            raise KeyboardInterrupt from error
    return [found[number] for number in range(len(jobs))]


def _pairs(contents: list[Picture], styles: list[Any], crossed: bool) -> list[tuple[Picture, Any]]:
    for name, given in (("contents", contents), ("styles", styles)):
        if not given:
            raise InputError(f"{name}: there is none; give at least one picture.")
    if crossed:
        return [(content, style) for content in contents for style in styles]
    count = max(len(contents), len(styles))
    if {len(contents), len(styles)} - {1, count}:
        raise InputError(
            f"contents, styles: {len(contents)} and {len(styles)} pictures make no pairs; give equal "
            "numbers, or one for all, or crossed=True."
        )
    repeated = [given * count if len(given) == 1 else given for given in (contents, styles)]
    return list(zip(*repeated, strict=True))


def work_through(
    pairs: Iterable[Pair],
    tile: Tile,
    stop: Callable[[], bool] = lambda: False,
    networks: Networks | None = None,
    meshes: Sequence[Mesh | None] = (None,),
    file_of: Callable[[int], Checkpoint | None] = lambda number: None,
) -> Iterator[tuple[int, Result | Exception]]:
    """Make the result of every pair.

    Args:
      pairs: with checked settings; taken from as they are needed.
      tile: as for `stylize`.
      stop: asked between steps.
      networks: those that are there already.
      meshes: as for `prepare`.
      file_of: for the checkpoints of a pair, by its number. Those that are computed alone make use of it,
        which take long.

    Returns:
      An iterator over numbers of pairs, from 0, each with its result, or with why there is none: an
      `InputError`, or what went wrong on the way, out of memory for example. In no particular order.

    Raises:
      Interrupted: `stop` said so. What is on its way is lost, but for checkpoints.
    """
    networks, numbered = networks or Networks(), enumerate(pairs)
    ahead = AHEAD * (1 if meshes[0] is None else meshes[0].size)
    available, most_bytes = available_bytes(meshes[0]), SHARE_AHEAD * host_bytes()

    def read(number: int, pair: Pair) -> Read:
        file = file_of(number)
        prepare_in = partial(prepare, *pair, networks=networks, available=available)
        begun = file.tile(tile, pair.config) if file is not None and tile == "auto" else None
        plan = _begun(prepare_in, begun) or prepare_in(tile=tile, meshes=meshes)
        # A picture in tiles is computed alone.
        return Read(number, plan, number if plan.tile else lanes.program(plan), file)

    reading: dict[Future[Read], int] = {}
    buckets: dict[Hashable, list[Read]] = collections.defaultdict(list)
    largest = 0  # of those that have been read, in bytes
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="jaxnst-read")
    try:
        while not stop():
            held = [one for bucket in buckets.values() for one in bucket]
            room = ahead - len(held) if largest else READERS
            if largest:
                room = min(room, int((most_bytes - sum(one.bytes for one in held)) // largest))
            for number, pair in itertools.islice(
                numbered, max(room - len(reading), 0 if held or reading else 1)
            ):
                reading[pool.submit(read, number, pair)] = number
            full = [bucket for bucket in buckets.values() if len(bucket) >= most(bucket[0].plan)]
            if reading and not full and (room > 0 or not held):
                for done in wait(reading, return_when=FIRST_COMPLETED).done:
                    number = reading.pop(done)
                    error = done.exception()
                    if error is None:
                        one = done.result()
                        largest = max(largest, one.bytes)
                        buckets[one.bucket].append(one)
                    elif isinstance(error, Exception):
                        yield number, error
                    else:
                        raise error
            elif buckets:
                bucket = full[0] if full else max(buckets.values(), key=len)
                count = min(len(bucket), most(bucket[0].plan))
                group, bucket[:count] = bucket[:count], []
                if not bucket:
                    del buckets[group[0].bucket]
                yield from results(group, stop)
            else:
                return
        raise Interrupted
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begun(prepare_in: Callable[..., Plan], tile: Tile) -> Plan | None:
    """As it was when it was begun, if that was in tiles that memory still holds."""
    if not isinstance(tile, int):
        return None
    try:
        return prepare_in(tile=tile, meshes=(None,))
    except TooLargeError:
        return None


@contextlib.contextmanager
def pairs_bar(wanted: bool, count: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """A progress bar with pairs per minute and the time left; gives what to call after each pair."""
    if not wanted:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(
        total=count,
        initial=done,
        unit="pair",
        dynamic_ncols=True,
        smoothing=0,
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
    ) as bar:

        def show() -> None:
            bar.update()
            rate = (bar.n - done) / max(bar.format_dict["elapsed"], 1e-9)
            bar.set_postfix_str(f"{60 * rate:.1f} pairs/min")

        yield show
