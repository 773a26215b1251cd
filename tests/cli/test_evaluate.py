"""`jaxnst evaluate`: a table of pictures side by side, and the same numbers as JSON."""

import json

import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_cache")


def test_evaluates_pictures_side_by_side(run, photo, painting, out, capsys):
    numbers, copy = out.with_name("numbers.json"), out.with_name("copy.png")
    Image.open(photo).resize((64, 64)).save(copy)
    Image.open(painting).resize((64, 64)).save(out)
    options = ("--content", photo, "--style", painting, "--size", 64, "--out", numbers)
    assert run("evaluate", out, copy, *options) == 0
    table = capsys.readouterr().out
    assert "picture.png" in table
    assert "copy.png" in table
    assert table.index("palette") < table.index("structure: how well") < table.index("content/relu1_1")
    measures = json.loads(numbers.read_text())
    assert measures[str(copy)]["structure"] > 0.9 > measures[str(out)]["structure"]
    assert measures[str(copy)]["palette"] > 0.9 > measures[str(out)]["palette"]
    assert measures[str(copy)]["style"] > measures[str(out)]["style"]
    assert "speckle" in measures[str(out)]
    assert measures[str(copy)]["ssim"] > 0.9 > measures[str(out)]["ssim"]
    assert measures[str(copy)]["style/relu3_1"] > measures[str(out)]["style/relu3_1"]


def test_a_picture_named_twice_is_refused(run, photo, capsys):
    assert run("evaluate", photo, photo) == 2
    assert capsys.readouterr().err == "jaxnst: image: a picture is named twice; name each once.\n"
