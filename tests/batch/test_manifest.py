"""What `jaxnst batch` is asked for: a table, or two folders."""

import shutil

import pytest
from pictures import refusal

import jaxnst
from jaxnst.batch.manifest import check_apart, read


def test_folders_are_paired_crosswise(tmp_path, photo, painting):
    for folder, names in (("contents", "ab"), ("styles", "cd")):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(photo, tmp_path / folder / f"{name}.jpg")
    (tmp_path / "contents" / "notes.txt").write_text("no picture")
    entries = read([str(tmp_path / "contents"), str(tmp_path / "styles")], jaxnst.Config())
    assert [entry.out for entry in entries] == ["a--c.png", "a--d.png", "b--c.png", "b--d.png"]


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("content\na.png\n", "'style'"),
        ("content,style,sise\na.png,b.png,3\n", "size"),
        ("content,style,steps\na.png,b.png,many\n", "line 2: steps"),
        ("content,style,steps\na.png,b.png,3\na.png,b.png,-1\n", "line 3: steps"),
        ("content,style\na.png,b.png,c.png\n", "line 2"),
        ("content,style\na.png,\n", "line 2: content and style"),
        ("content,style,out\na.png,b.png,x.png\nc.png,d.png,x.png\n", "2 times"),
        ("content,style,out\na.png,b.png,../x.png\n", "'../x.png'"),
        ("content,style\n", "no pairs"),
        ("", "'content'"),
    ],
)
def test_manifests_that_will_not_do(tmp_path, table, named):
    (tmp_path / "manifest.csv").write_text(table)
    assert named in refusal(read, [str(tmp_path / "manifest.csv")], jaxnst.Config())


def test_a_row_has_settings_of_its_own(tmp_path):
    (tmp_path / "manifest.csv").write_text(
        "content,style,clamp,style_weights,content_layers,size\na.png,b.png;c.png,false,1;2.5,relu3_1,64\n"
        "a.png,b.png;c.png,,,,\n"
    )
    first, second = read([str(tmp_path / "manifest.csv")], jaxnst.Config(size=100))
    assert first.styles == (tmp_path / "b.png", tmp_path / "c.png")
    assert first.config == jaxnst.Config(
        clamp=False, style_weights=(1.0, 2.5), content_layers=("relu3_1",), size=64
    )
    assert second.config == jaxnst.Config(size=100)
    assert (first.out, second.out) == ("a--b--c.png", "a--b--c-2.png")


def test_results_go_elsewhere(tmp_path):
    (tmp_path / "manifest.csv").write_text("content,style\na.png,b.png\n")
    entries = read([str(tmp_path / "manifest.csv")], jaxnst.Config())
    assert refusal(check_apart, entries, tmp_path / "x" / "..").startswith("out:")
    check_apart(entries, tmp_path / "out")


def test_a_picture_that_changes_is_another(tmp_path, photo, painting):
    shutil.copy(photo, tmp_path / "a.jpg")
    shutil.copy(painting, tmp_path / "b.jpg")
    (tmp_path / "manifest.csv").write_text("content,style,start\na.jpg,b.jpg,a.jpg\n")

    def key(config):
        return read([str(tmp_path / "manifest.csv")], config)[0].key

    before = key(jaxnst.Config())
    assert key(jaxnst.Config()) == before
    assert key(jaxnst.Config(steps=7)) != before
    (tmp_path / "b.jpg").touch()
    assert key(jaxnst.Config()) != before
