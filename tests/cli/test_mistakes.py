"""A mistake costs one sentence and exit status 2, before anything is compiled or written."""

import re
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from jaxnst.config.config import Config
from jaxnst.io.save import save_image
from jaxnst.io.weights.load import list_weights

pytestmark = [pytest.mark.fast, pytest.mark.usefixtures("own_cache")]


@pytest.fixture
def files(tmp_path, photo):
    """Files that cannot be used, and a painting that can."""
    painting = tmp_path / "painting.png"
    Image.new("RGB", (64, 64), (9, 80, 200)).save(painting)
    paths = {"painting": painting, "folder": tmp_path}
    for name in (
        "cut.jpg",
        "text.png",
        "empty.png",
        "damaged.h5",
        "no.h5",
        "saved.png",
        "foreign.tif",
    ):
        paths[name.split(".")[0]] = tmp_path / name
    paths["cut"].write_bytes(photo.read_bytes()[:20000])
    paths["text"].write_text("not a picture")
    paths["empty"].touch()
    shutil.copy(
        next(record.location for record in list_weights() if record.name == "caffe"), paths["damaged"]
    )
    with h5py.File(paths["damaged"], "r+") as file:
        file["conv3_1/bias"][0] += 1
    paths["no"].write_bytes(b"no")
    save_image(paths["saved"], np.zeros((4, 4, 3)), {"config": Config().to_dict()})
    save_image(paths["foreign"], np.zeros((4, 4, 3)), {"shape": [4, 4, 3]})
    return paths


PICTURES = {
    "missing content": ("{folder}/paintin.png", "{painting}", "content: .*did you mean .*painting.png"),
    "missing style": ("{photo}", "nowhere/else.png", "style: .*nowhere"),
    "truncated": ("{cut}", "{painting}", "content: .*truncated"),
    "not an image": ("{text}", "{painting}", "content: .*not a picture"),
    "empty file": ("{empty}", "{painting}", "content: .*empty"),
    "a folder": ("{folder}", "{painting}", "content: .*folder"),
}

OPTIONS = {
    "size zero": ("--size -1", "size: -1 is too small"),
    "tiny size": ("--size 8 --edges drop", "content: 8x8 pixels .*relu5_1, which needs at least 16"),
    "too large": ("--size 400000", "size: .*GB.* a size of [0-9]+ would fit"),
    "unknown layer": ("--style-layers relu1_1 relu6_1", "style_layers: .*relu5_1"),
    "unknown preset": ("--preset gatis", "preset: .*did you mean gatys"),
    "unknown optimizer": ("--optimizer lbgfs", "optimizer: .*did you mean lbfgs"),
    "unknown pooling": ("--pooling median", "pooling: .*max, average"),
    "unknown weights": ("--weights cafe", "weights: .*did you mean caffe"),
    "unknown start": ("--start nois", "start: .*did you mean noise"),
    "weights not fetched": ("--weights torchvision", "jaxnst weights fetch torchvision"),
    "damaged weights": ("--weights {damaged}", "weights: .*damaged"),
    "weights not HDF5": ("--weights {no}", "weights: .*not an HDF5 file"),
    "no output folder": ("--out {folder}/none/x.png", "out: there is no folder"),
    "unknown extension": ("--out {folder}/x.bmp", "out: .*.bmp"),
    "no history folder": ("--history {folder}/none/x.csv", "history: .*none"),
    "negative snapshots": ("--snapshots -1", "snapshots: -1"),
    "config without settings": ("--config {photo}", "config: .*no settings"),
    "preset and config": ("--preset gatys --config {saved}", "both given"),
    "foreign settings": ("--config {foreign}", "config: .*no settings"),
    "out is a folder": ("--out {folder}", "out: .*is a folder"),
    "history is a folder": ("--history {folder}", "history: .*is a folder"),
    "weight beyond float32": ("--style-weight 1e39", "style_weight: 1e[+]39"),
    "negative layer weight": ("--style-layer-weights=-1", "style_layer_weights: -1.0 is negative"),
    "half a machine": ("--num-processes 2", "devices: several processes .* use all"),
    "no coordinator": ("--devices all --num-processes 2", "coordinator_address, num_processes, process_id: "),
}


@pytest.fixture
def refuses(run, tmp_path, out, capsys):
    """Runs `jaxnst stylize` and checks that it only prints one sentence."""

    def check(words, message):
        before = sorted(tmp_path.rglob("*"))
        output = [] if "--out" in words else ["--out", out]
        assert run("stylize", *words, *output) == 2
        sentence = capsys.readouterr().err
        assert sentence.startswith("jaxnst: ")
        assert sentence.count("\n") == 1
        assert re.search(message, sentence), sentence
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.mark.parametrize("mistake", PICTURES)
def test_pictures_that_cannot_be_used(refuses, files, photo, mistake):
    content, style, message = PICTURES[mistake]
    refuses([path.format(photo=photo, **files) for path in (content, style)], message)


@pytest.mark.parametrize("mistake", OPTIONS)
def test_options_that_cannot_be_used(refuses, files, photo, mistake):
    words, message = OPTIONS[mistake]
    options = [word.format(photo=photo, **files) for word in words.split()]
    refuses([photo, files["painting"], *options], message)


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2"])
def test_a_shard_that_is_none(run, photo, tmp_path, capsys, shard):
    assert run("batch", photo.parent, photo.parent, "--out", tmp_path / "out", f"--shard={shard}") == 2
    assert capsys.readouterr().err.startswith(f"jaxnst: shard: {shard!r} is not I/N")
    assert not (tmp_path / "out").exists()
