"""The jobs of `jaxnst batch`: the rows of a table, or the pairs of two folders."""

import os
import shutil

import pytest
from pictures import refusal

import jaxnst
from jaxnst.batch.manifest import check_apart, read_jobs

pytestmark = pytest.mark.fast


@pytest.fixture
def jobs_in(tmp_path):
    """Returns the jobs of a table."""

    def read(table, config=None, name="manifest.csv", encoding="utf-8"):
        (tmp_path / name).write_text(table, encoding=encoding)
        return read_jobs([str(tmp_path / name)], config or jaxnst.Config())

    return read


def test_folders_are_paired_crosswise(tmp_path, photo):
    for folder, names in (("contents", "ab"), ("styles", "cd")):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(photo, tmp_path / folder / f"{name}.JPG")
    (tmp_path / "contents" / "notes.txt").write_text("no picture")
    (tmp_path / "contents" / ".hidden.jpg").touch()
    (tmp_path / "contents" / "folder.jpg").mkdir()
    jobs = read_jobs([str(tmp_path / "contents"), str(tmp_path / "styles")], jaxnst.Config(), ".webp")
    assert [job.out for job in jobs] == ["a--c.webp", "a--d.webp", "b--c.webp", "b--d.webp"]
    assert jobs[1].pictures.content == tmp_path / "contents" / "a.JPG"
    assert jobs[1].pictures.styles == [tmp_path / "styles" / "d.JPG"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("content\na.png\n", "manifest: .* has no column 'style'"),
        ("content,style,sise\na.png,b.png,3\n", "manifest: there is no 'sise'; did you mean size"),
        ("content,style,\na.png,b.png,\n", "manifest: there is no ''"),
        ("content,style,style\na.png,b.png,c.png\n", "has the column 'style' twice"),
        ("content,style,steps\na.png,b.png,many\n", "line 2: steps: 'many' is no whole number"),
        ("content,style,tv_weight\na.png,b.png,much\n", "line 2: tv_weight: 'much' is no number"),
        ("content,style,clamp\na.png,b.png,yes\n", "line 2: clamp: there is no 'yes'"),
        ("content,style,steps\na.png,b.png,3\na.png,b.png,-1\n", "line 3: steps: -1 is too small"),
        ('content,style\n"a\nb.png",c.png\na.png,\n', "line 4: content and style"),
        ("content,style\na.png,b.png,c.png\n", "line 2: it has another number of cells"),
        ("content,style\na.png\n", "line 2: it has another number of cells"),
        ("content,style\na.png,\n", "line 2: content and style must both be named"),
        ("content,style\na.png,b.png;\n", "line 2: content and style must both be named"),
        ("content,style,out\na.png,b.png,x.png\nc.png,d.png,x.png\n", "'x.png' is named 2 times"),
        ("content,style,out\na.png,b.png,\na.png,b.png,a--b.png\n", "would be called 'a--b.png'"),
        ("content,style,out\na.png,b.png,../x.png\n", "'../x.png' is not the name of a picture"),
        ("content,style,out\na.png,b.png,x.gif\n", "'x.gif' is not the name of a picture"),
        ('content,style\n"a.png,b.png\n', "cannot be read"),
        ("content,style\n", "there are no pairs"),
        ("", "has no column 'content'"),
        ("content,style,memory,history_size\na.png,b.png,3,4\n", "line 2: history_size: .* old name too"),
    ],
)
@pytest.mark.filterwarnings("ignore:the setting memory")
def test_manifests_that_cannot_work(jobs_in, table, message):
    with pytest.raises(jaxnst.InputError, match=f"^manifest: .*{message.removeprefix('manifest: ')}"):
        jobs_in(table)


def test_what_is_no_manifest_is_refused(jobs_in, tmp_path):
    assert "cannot be read" in refusal(read_jobs, [str(tmp_path / "none.csv")], jaxnst.Config())
    assert "cannot be read" in refusal(read_jobs, [str(tmp_path)], jaxnst.Config())
    assert "cannot be read" in refusal(jobs_in, "content,style\né.png,b.png\n", encoding="latin-1")
    assert "3 paths" in refusal(read_jobs, ["a", "b", "c"], jaxnst.Config())
    assert refusal(read_jobs, [str(tmp_path), "none"], jaxnst.Config()).startswith(
        "style: 'none' is no folder"
    )
    assert "no pairs" in refusal(read_jobs, [str(tmp_path), str(tmp_path)], jaxnst.Config())
    assert "'.gif'" in refusal(read_jobs, [str(tmp_path)] * 2, jaxnst.Config(), ".gif")


def test_a_row_has_settings_of_its_own(jobs_in, tmp_path):
    first, second = jobs_in(
        "content,style,clamp,style_weights,content_layers,size,start\n"
        "a.png,b.png;c.png,false,1;2.5,relu3_1,64,d.png\n"
        "a.png,b.png;c.png,,,,,\n",
        jaxnst.Config(size=100),
    )
    assert first.pictures.content == tmp_path / "a.png"
    assert first.pictures.styles == [tmp_path / "b.png", tmp_path / "c.png"]
    assert (
        first.config
        == jaxnst.Config(
            clamp=False,
            style_weights=(1.0, 2.5),
            content_layers=("relu3_1",),
            size=64,
            start=str(tmp_path / "d.png"),  # paths begin at the manifest's folder
        ).checked()
    )
    assert second.config == jaxnst.Config(size=100).checked()
    assert (first.out, second.out) == ("a--b--c.png", "a--b--c-2.png")


def test_an_excel_file_with_a_byte_order_mark_is_read(jobs_in):
    [job] = jobs_in("content,style\r\na.png,b.png\r\n", encoding="utf-8-sig")
    assert job.out == "a--b.png"


def test_masks_of_a_row_are_read_beside_the_manifest(jobs_in, tmp_path):
    [job] = jobs_in("content,style,content_masks\na.png,b.png;c.png,m.png;n.png\n")
    assert job.config.content_masks == (str(tmp_path / "m.png"), str(tmp_path / "n.png"))
    assert job.pictures.content_masks == list(job.config.content_masks)


def test_a_column_with_an_old_name_is_accepted_with_a_notice(jobs_in):
    with pytest.warns(UserWarning, match="memory is now called history_size"):
        [job] = jobs_in("content,style,memory\na.png,b.png,7\n")
    assert job.config == jaxnst.Config(history_size=7).checked()


def test_an_output_folder_with_pictures_that_are_read_is_refused(jobs_in, tmp_path):
    jobs = jobs_in("content,style\na.png,b.png\n")
    assert refusal(check_apart, jobs, tmp_path / "x" / "..").startswith("out:")
    check_apart(jobs, tmp_path / "out")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "m.png").touch()
    jobs = jobs_in("content,style,content_masks\na.png,b.png,masks/m.png\n")
    assert refusal(check_apart, jobs, tmp_path / "masks").startswith("out:")


def test_a_job_whose_settings_or_files_change_has_another_key(jobs_in, tmp_path, photo, painting):
    shutil.copy(photo, tmp_path / "a.jpg")
    shutil.copy(painting, tmp_path / "b.jpg")
    shutil.copy(painting, tmp_path / "start.jpg")

    def key(config=None):
        return jobs_in("content,style,start\na.jpg,b.jpg,start.jpg\n", config)[0].key

    before = key()
    assert key() == before
    assert key(jaxnst.Config(steps=7)) != before
    for name in ("a.jpg", "b.jpg", "start.jpg"):
        before = key()
        os.utime(tmp_path / name, (1, 1))
        assert key() != before
    (tmp_path / "a.jpg").unlink()
    assert key() != before
