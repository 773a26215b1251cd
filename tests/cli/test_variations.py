"""`jaxnst reconstruct` and `jaxnst interpolate`."""

import numpy as np
import pytest
from PIL import Image

from jaxnst.io.save import read_metadata

pytestmark = pytest.mark.usefixtures("own_cache")


def test_reconstructs_content_from_layers(run, painting, out):
    options = ("--size", 48, "--steps", 3, "--quiet")
    assert run("reconstruct", painting, "--layer", "relu2_1", "--out", out, *options) == 0
    config = read_metadata(out)["config"]
    assert (config["content_layers"], config["style_layers"], config["start"]) == (["relu2_1"], [], "noise")
    assert config["tv_weight"] == 0


def test_reconstructs_style_from_layers(run, painting, out):
    options = ("--style-layers", "relu1_1", "relu2_1", "--size", 48, "--steps", 3, "--quiet")
    assert run("reconstruct", painting, "--out", out, *options) == 0
    config = read_metadata(out)["config"]
    assert (config["content_layers"], config["style_layers"]) == ([], ["relu1_1", "relu2_1"])
    with Image.open(out) as picture:
        assert picture.size == (48, 32)


def test_interpolates_into_a_strip(run, photo, painting, out):
    arguments = ("interpolate", photo, painting, photo, "--count", 3, "--quiet")
    small = (
        "--size",
        48,
        "--steps",
        4,
        "--content-layers",
        "relu2_1",
        "--style-layers",
        "relu1_1",
        "relu2_1",
    )
    assert run(*arguments, "--out", out, *small) == 0
    with Image.open(out) as picture:
        assert picture.size == (3 * 48 + 2 * 4, 48)
    again = out.with_name("again.png")
    assert run(*arguments, "--out", again, "--config", out) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(out)))


def test_a_strip_has_no_losses_and_no_snapshots(run, photo, painting, out, capsys):
    assert run("interpolate", photo, painting, photo, "--out", out, "--snapshots", 1) == 2
    assert "history and snapshots" in capsys.readouterr().err
