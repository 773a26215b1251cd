"""Tests of the table that compares measurements."""

import math

import pytest

from jaxnst import metrics

pytestmark = pytest.mark.fast

NUMBERS = {
    "a.png": {"content/relu1_1": 0.25, "ssim": 0.5, "gradient_ssim": 1 / 3, "style 1/relu1_1": 2e-7, "n": 1},
    "photo": {
        "content/relu1_1": 0.0,
        "ssim": 1.0,
        "gradient_ssim": 1 / 3,
        "style 2/relu1_1": 1234567,
        "n": 2,
    },
}


def test_table_marks_the_best_of_each_line():
    assert metrics.table(NUMBERS).splitlines() == [
        "                  a.png       photo",
        "content/relu1_1    0.25           0*",
        "",
        "ssim                0.5           1*",
        "gradient_ssim    0.3333      0.3333",
        "",
        "style 1/relu1_1   2e-07           -",
        "",
        "n                     1           2",
        "",
        "style 2/relu1_1       -   1.235e+06",
    ]


def test_table_of_one_picture_marks_nothing():
    assert metrics.table({"photo": NUMBERS["photo"]}).splitlines()[:4] == [
        "                     photo",
        "content/relu1_1          0",
        "",
        "ssim                     1",
    ]


def test_table_never_marks_nan():
    lines = metrics.table(
        {name: {"ssim": value} for name, value in zip("abc", (math.nan, 0.1, 0.2), strict=True)}
    )
    assert lines.splitlines()[1].split() == ["ssim", "nan", "0.1", "0.2*"]
