"""The pages of docs/studies say what the committed tables say."""

import csv
import itertools
import sys
from pathlib import Path

import pytest

from jaxnst.studies import names, read_study

pytestmark = pytest.mark.fast

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def pages(monkeypatch):
    """Imports the script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import make_study_pages

    yield make_study_pages
    for name in ("make_study_pages", "study_claims"):
        sys.modules.pop(name, None)


@pytest.fixture
def table(tmp_path):
    """Writes a `cells.csv` of ranka's grid in which the content loss depends on the blend."""

    def make(name, content_loss):
        path = tmp_path / f"{name}.csv"
        columns = ["grid", "blend", "learning_rate", "preset", "content", "style", "size", "steps", "ended"]
        columns += ["loss/total", "loss/content", "loss/style", "content/relu1_1", "content/relu2_1", "ssim"]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            for blend, rate, steps in itertools.product((0.3, 0.5, 0.7), (0.4, 0.7, 1), (1, 800, 1000)):
                line = {"grid": "noise-ratio", "blend": f"{blend:g}", "learning_rate": f"{rate:g}"}
                line |= {"content": "content 1", "style": "style 1", "steps": steps, "ended": "finished"}
                line |= {"loss/content": content_loss(blend), "loss/style": 5, "loss/total": 1000 / steps}
                writer.writerow(line | {"content/relu1_1": 1.0, "content/relu2_1": 3.0, "ssim": 0.5})
        return path

    return make


def claims(pages, tables, text):
    lines = pages.table_of_claims(pages.CLAIMS["ranka"], [pages.Cells(path) for path in tables])
    return next(line for line in lines if text in line)


def test_verdicts_over_tables(pages, table):
    falling, rising = table("falling", lambda blend: 1 / blend), table("rising", lambda blend: blend)
    text = "starts at a lower content loss"
    assert "**holds**" in claims(pages, [falling], text)
    assert "3.33, 2, 1.43" in claims(pages, [falling], text)
    assert "**does not hold**" in claims(pages, [rising], text)
    both = claims(pages, [falling, rising], text)
    assert "**depends**" in both
    assert "*falling*" in both
    assert "*rising*" in both
    assert "**holds**" in claims(pages, [falling], "before step 750")
    assert "not measured" in claims(pages, [falling], "Guideline: strong style")


def test_metrics_are_means_over_layers_and_not_the_names_of_pictures(pages, table):
    cells = pages.Cells(table("a", lambda blend: blend))
    assert cells.value("content", "noise-ratio", blend=0.3) == pytest.approx(2)
    assert cells.value("ssim", "noise-ratio") == pytest.approx(0.5)
    assert cells.value("loss/total", "noise-ratio", steps=1000) == pytest.approx(1)
    assert pages.number({"ssim": "", "ended": "failed"}, "ssim") != pages.number({"ssim": "1"}, "ssim")


def test_every_claim_is_about_a_grid_that_exists(pages):
    assert set(pages.CLAIMS) == set(names())
    for name, study_claims in pages.CLAIMS.items():
        grids = {grid.name for grid in read_study(name).grids}
        assert {claim.grid for claim in study_claims} <= grids


@pytest.mark.parametrize("name", names())
def test_pages_are_up_to_date(pages, name):
    tables = [pages.Cells(path) for path in sorted((pages.DOCS / "data" / name).glob("*.csv"))]
    page = pages.DOCS / f"{name}.md"
    assert page.exists() == bool(tables)
    if tables:
        assert page.read_text("utf-8") == pages.page(name, tables)
