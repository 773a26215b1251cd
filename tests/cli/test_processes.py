"""Several processes share the work of `jaxnst batch`; none waits for another, or dies with it."""

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from objectives import picture
from pictures import refusal
from PIL import Image

import jaxnst
from jaxnst.cli.processes import Place, Processes, connect, find, keep_to_own_devices
from jaxnst.io.images import read_image

PAIRS = 24
BROKEN = 5
"""Of these pairs the one without a content picture, in the share of process 1."""

CLUSTERS = {
    "SLURM": {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_NODELIST": "node[001-002]",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "{index}",
        "SLURM_LOCALID": "0",
    },
    "Open MPI": {
        "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": "{index}",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    },
}
"""What the launchers tell each process, as JAX reads it."""


def told_by(cluster, index):
    return {name: value.format(index=index) for name, value in CLUSTERS[cluster].items()}


@pytest.fixture
def no_cluster(monkeypatch):
    """Nothing that a cluster on which the tests may run says."""
    for name in os.environ:
        if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_", "TPU_", "JAX_LOCAL_", "CUDA_VISIBLE")):
            monkeypatch.delenv(name)


@pytest.fixture
def manifest(tmp_path):
    """As many steps for each as no other pair has, so that none are computed together."""
    generator = np.random.default_rng(1)
    for name in ("content", "style"):
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"{name}.png")
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["content", "style", "out", "steps"])
        for index in range(PAIRS):
            content = "missing.png" if index == BROKEN else "content.png"
            writer.writerow([content, "style.png", f"{index:02d}.png", 50 + index])
    return tmp_path / "manifest.csv"


@pytest.fixture
def start(manifest, tmp_path, own_cache, no_cluster):
    """Starts a process of the batch, given what says which it is; kills what is left at the end."""
    del own_cache, no_cluster
    command = [
        sys.executable,
        "-m",
        "jaxnst.cli.main",
        "batch",
        str(manifest),
        "--out",
        str(tmp_path / "out"),
    ]
    settings = ["--size", "32", "--content-layers", "relu1_1", "--style-layers", "relu1_1"]
    with contextlib.ExitStack() as children:

        def run(*flags, **variables):
            child = subprocess.Popen(
                [*command, *settings, *flags], stderr=subprocess.PIPE, text=True, env=os.environ | variables
            )
            children.callback(child.communicate)
            children.callback(child.kill)
            return child

        yield run


def records_of(out, index):
    path = out / f"journal-{index}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def finished_of(out, index):
    return [record["out"] for record in records_of(out, index) if record["ended"] == "finished"]


def kill_at_work(child, out, index):
    """When it has made two pictures; returns when each that it has made was written."""
    deadline = time.monotonic() + 120
    while len(finished_of(out, index)) < 2:
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    made = finished_of(out, index)
    assert len(made) < PAIRS // 2 - 1
    return {name: (out / name).stat().st_mtime_ns for name in made}


def ends(child):
    _, told = child.communicate(timeout=120)
    return child.returncode, told.splitlines()[-1]


def check_all_is_done(out, made):
    for index in range(2):
        names = [record["out"] for record in records_of(out, index)]
        assert sorted(names) == [f"{number:02d}.png" for number in range(index, PAIRS, 2)]
    for name, changed in made.items():
        assert (out / name).stat().st_mtime_ns == changed, f"{name} was made twice"
    for number in set(range(PAIRS)) - {BROKEN}:
        assert read_image(out / f"{number:02d}.png").shape == (32, 32, 3)
    with (out / "failures.csv").open() as file:
        assert [row["out"] for row in csv.DictReader(file)] == [f"{BROKEN:02d}.png"]
    assert not list(out.glob(".*.tmp"))


def test_killed_and_restarted_while_the_other_works(start, tmp_path):
    out = tmp_path / "out"
    numbers = ["--num-processes", "2", "--coordinator-address", f"127.0.0.1:{free_port()}"]
    first, second = (start(*numbers, "--process-id", str(index)) for index in range(2))
    made = kill_at_work(second, out, 1)
    assert first.poll() is None
    second = start(*numbers, "--process-id", "1")
    assert ends(first) == (0, f"{out}: 12 of 12 pictures of process 0, one of 2")
    assert ends(second) == (1, f"{out}: 11 of 12 pictures of process 1, one of 2")
    check_all_is_done(out, made)


def test_process_0_is_killed_and_comes_back_alone(start, tmp_path):
    """Where `jax.distributed` has its coordinator; a cluster says which process is which."""
    out = tmp_path / "out"
    first, second = (start("--distributed", **told_by("SLURM", index)) for index in range(2))
    made = kill_at_work(first, out, 0)
    assert ends(second)[0] == 1
    assert len(records_of(out, 1)) == PAIRS // 2
    assert len(finished_of(out, 0)) == len(made)
    assert ends(start("--distributed", **told_by("SLURM", 0)))[0] == 0
    check_all_is_done(out, made)


@pytest.mark.parametrize(("cluster", "devices"), [("SLURM", (0,)), ("Open MPI", (1,))])
def test_clusters_say_which_process_this_is(no_cluster, monkeypatch, cluster, devices):
    """And which GPU is its own, unless the launcher hides the others, or the user has said it."""
    del no_cluster
    for name, value in told_by(cluster, 1).items():
        monkeypatch.setenv(name, value)
    assert find(Processes(distributed=True)) == Place(1, 2, devices)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert find(Processes(distributed=True)) == Place(1, 2)
    monkeypatch.setenv("JAX_LOCAL_DEVICE_IDS", "2,3")
    assert find(Processes(distributed=True)) == Place(1, 2, (2, 3))


def test_other_processes_devices_are_hidden():
    try:
        keep_to_own_devices(Place(1, 2, (2, 3)))
        assert jax.config.values["jax_cuda_visible_devices"] == "2,3"
        assert jax.config.values["jax_rocm_visible_devices"] == "2,3"
    finally:
        keep_to_own_devices(Place(devices=("all",)))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"distributed": True}, "no cluster is found"),
        ({"distributed": True, "num_processes": 2}, "leave"),
        ({"num_processes": 2}, "one is missing"),
        ({"process_id": 0}, "one is missing"),
        ({"coordinator_address": "host:1"}, "one is missing"),
        ({"num_processes": 2, "process_id": 2}, "no process 2 of 2"),
        ({"num_processes": 2, "process_id": -1}, "no process -1 of 2"),
        ({"num_processes": 0, "process_id": 0}, "no process 0 of 0"),
        ({"num_processes": 2, "process_id": 0, "coordinator_address": "host"}, "HOST:PORT"),
    ],
)
def test_what_does_not_go_together(no_cluster, given, named):
    del no_cluster
    assert named in refusal(find, Processes(**given))


def test_a_cluster_that_talks_nonsense(no_cluster, monkeypatch):
    del no_cluster
    for name, value in told_by("SLURM", 0).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_NTASKS", "many")
    assert "'many'" in refusal(find, Processes(distributed=True))


def test_shares_are_all_of_the_work_once():
    shares = [Place(index, 3).share(range(8)) for index in range(3)]
    assert [list(share) for share in shares] == [[0, 3, 6], [1, 4, 7], [2, 5]]


CONNECT = """
import sys, jax
from jaxnst.errors import InputError
from jaxnst.run.memory_budget import available_bytes
from jaxnst.cli.processes import Processes, connect
index, address, seconds = sys.argv[1:]
try:
    connect(Processes(num_processes=2, process_id=int(index), coordinator_address=address), float(seconds))
except InputError as error:
    sys.exit(str(error))
print(jax.process_count(), len(jax.devices()), len(jax.local_devices()), available_bytes() > 0)
"""


def meeting(index, port, seconds):
    command = [sys.executable, "-c", CONNECT, str(index), f"127.0.0.1:{port}", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_processes_come_together():
    port = free_port()
    with meeting(0, port, 60) as first, meeting(1, port, 60) as second:
        try:
            for child in (first, second):
                processes, devices, local, has_memory = child.communicate(timeout=60)[0].split()
                assert (processes, has_memory) == ("2", "True")
                assert int(devices) == 2 * int(local)
        finally:
            first.kill()
            second.kill()


@pytest.fixture
def together(tmp_path, own_cache, no_cluster):
    """Starts two processes of two devices each that make one picture; gives them, and where they would."""
    given = [tmp_path / "content.png", tmp_path / "style.png"]
    for seed, path in enumerate(given):
        Image.fromarray((255 * picture(64, 57, seed)).astype(np.uint8)).save(path)
    command = [sys.executable, "-m", "jaxnst", "stylize", *given, "--quiet", "--devices", "all"]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    with contextlib.ExitStack() as stack:

        def start(name, **settings):
            flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
            flags += ["--num-processes=2", f"--coordinator-address=127.0.0.1:{free_port()}"]
            children, outs = [], [tmp_path / f"{name}-{index}.png" for index in range(2)]
            for index, out in enumerate(outs):
                told = [*command, *flags, f"--process-id={index}", "--out", out]
                children.append(stack.enter_context(subprocess.Popen(told, env=environment)))
                stack.callback(children[-1].kill)
            return children, outs

        yield start


def test_one_picture_over_two_processes(together):
    """Two devices each, two scales; process 0 writes the picture, which is that of one device."""
    settings = {"size": 64, "start_size": 32, "steps": 3, "tv_weight": 0.0}
    settings |= {"content_layers": "relu2_2", "style_layers": "relu2_1"}
    children, outs = together("out", **settings)
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    assert not outs[1].exists()
    settings |= {"content_layers": ("relu2_2",), "style_layers": ("relu2_1",)}
    given = (outs[0].with_name(f"{name}.png") for name in ("content", "style"))
    alone = jaxnst.stylize(*given, progress=False, **settings)
    np.testing.assert_allclose(read_image(outs[0], "out"), alone.array, rtol=0, atol=0.51 / 255 + 1e-4)


def test_one_picture_goes_on_where_its_processes_were_stopped(together, tmp_path):
    """By Ctrl-C in one of them, which stops both; or killed (of one's death JAX tells the other in 100 s)."""
    file = tmp_path / "run.h5"
    settings = {"size": 33, "steps": 24, "content_layers": "relu2_1", "style_layers": "relu1_1"}
    children, [whole, _] = together("whole", **settings)
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    settings |= {"checkpoint": file, "checkpoint_minutes": 0}
    for sent in (signal.SIGINT, signal.SIGKILL):
        before = file.stat().st_mtime_ns if file.exists() else 0
        children, [out, _] = together("stopped", **settings)
        until = time.monotonic() + 120
        while not file.exists() or file.stat().st_mtime_ns == before:
            assert time.monotonic() < until
            time.sleep(0.02)
        for child in children[1:] if sent == signal.SIGINT else children:
            child.send_signal(sent)
        ended = [child.wait(timeout=120) for child in children]
        assert ended == [130 if sent == signal.SIGINT else -signal.SIGKILL] * 2
    children, [out, _] = together("stopped", **settings)
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    assert out.read_bytes() == whole.read_bytes()


def test_a_process_whose_coordinator_is_not_there():
    with meeting(1, free_port(), 1) as child:
        try:
            _, told = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 1
    assert "did not come together at '127.0.0.1:" in told.splitlines()[0]


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert "cannot be used here" in refusal(connect, Processes(False, 2, 0, address))
    assert "HOST:PORT" in refusal(connect, Processes(num_processes=2, process_id=1))
