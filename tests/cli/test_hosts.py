"""`jaxnst stylize` as several processes that make one picture together, under `jax.distributed`."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from objectives import picture
from PIL import Image

import jaxnst
from jaxnst.io.images import read_image

pytestmark = pytest.mark.slow


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / "content.png", tmp_path / "style.png"]
    for seed, path in enumerate(paths):
        Image.fromarray((255 * picture(64, 57, seed)).astype(np.uint8)).save(path)
    return paths


@pytest.fixture
def start(tmp_path, pictures, own_cache):
    """Starts two processes of two devices each that make one picture; returns them and their output paths."""
    command = [sys.executable, "-m", "jaxnst", "stylize", *pictures, "--quiet", "--devices", "all"]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    with contextlib.ExitStack() as stack:

        def start(name, **settings):
            options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
            options += ["--num-processes=2", f"--coordinator-address=127.0.0.1:{free_port()}"]
            children, outs = [], [tmp_path / f"{name}-{index}.png" for index in range(2)]
            for index, out in enumerate(outs):
                words = [*command, *options, f"--process-id={index}", "--out", out]
                children.append(stack.enter_context(subprocess.Popen(words, env=environment)))
                stack.callback(children[-1].kill)
            return children, outs

        yield start


def test_one_picture_over_two_processes(start, pictures):
    """At two scales; process 0 writes the picture, which is the one that a single device makes."""
    settings = {"size": 64, "start_size": 32, "steps": 3, "tv_weight": 0.0}
    settings |= {"content_layers": "relu2_2", "style_layers": "relu2_1"}
    children, outs = start("out", **settings)
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    assert not outs[1].exists()
    alone = jaxnst.stylize(*pictures, progress=False, **settings)
    np.testing.assert_allclose(read_image(outs[0], "out"), alone.array, rtol=0, atol=0.51 / 255 + 1e-4)


def test_one_picture_continues_after_its_processes_were_stopped(start, tmp_path):
    """By Ctrl-C in one of them, which stops both, or killed (JAX notices the death of one after 100 s)."""
    file = tmp_path / "run.h5"
    settings = {"size": 33, "steps": 24, "content_layers": "relu2_1", "style_layers": "relu1_1"}
    children, [whole, _] = start("whole", **settings)
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    settings |= {"checkpoint": file, "checkpoint_minutes": 0}
    for number in (signal.SIGINT, signal.SIGKILL):
        before = file.stat().st_mtime_ns if file.exists() else 0
        children, [out, _] = start("stopped", **settings)
        until = time.monotonic() + 120
        while not file.exists() or file.stat().st_mtime_ns == before:
            assert time.monotonic() < until
            time.sleep(0.02)
        for child in children[1:] if number == signal.SIGINT else children:
            child.send_signal(number)
        statuses = [child.wait(timeout=120) for child in children]
        assert statuses == [130 if number == signal.SIGINT else -signal.SIGKILL] * 2
    children, [out, _] = start("stopped", **settings)
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    assert out.read_bytes() == whole.read_bytes()
