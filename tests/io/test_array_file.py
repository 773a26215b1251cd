"""A checkpoint is the whole old one or the whole new one."""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxnst.batch import folders
from jaxnst.io import array_file as checkpoint


def test_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "work.h5"
    generator = np.random.default_rng(0)
    arrays = {
        "a/0": generator.standard_normal((3, 4)).astype(np.float32),
        "a/1": np.array(True),
        "keys": generator.integers(0, 2**32, 2, np.uint32),
    }
    checkpoint.save(path, arrays, {"step": 7, "names": ["x"]})
    found, about = checkpoint.load(path)
    assert about == checkpoint.about(path) == {"step": 7, "names": ["x"]}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert (found[name] == array).all()


def test_a_failed_write_leaves_the_old_one(tmp_path):
    path = tmp_path / "work.h5"
    checkpoint.save(path, {"a": np.zeros(2)}, {"step": 1})
    with pytest.raises(TypeError):
        checkpoint.save(path, {"a": np.array([object()])}, {"step": 2})
    assert checkpoint.load(path)[1] == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["work.h5"]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "other"])
def test_what_cannot_be_read_is_none(tmp_path, damage):
    path = tmp_path / "work.h5"
    if damage != "missing":
        array = np.random.default_rng(0).random(1000)
        checkpoint.save(path, {"a": array}, {})
        data = path.read_bytes()
        at = data.index(array.tobytes()) + 4000
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        cut = data[: len(data) // 2]
        path.write_bytes({"empty": b"", "cut": cut, "flipped": flipped, "other": b"not HDF5" * 99}[damage])
    assert checkpoint.load(path) is None
    if damage != "flipped":  # for which all of it must be read
        assert checkpoint.about(path) is None


def test_what_a_kill_left_aside_goes_with_the_next(tmp_path, monkeypatch):
    path = tmp_path / "work.h5"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(os, "fsync", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            checkpoint.save(path, {"a": np.zeros(2)}, {})
    assert [each.name for each in tmp_path.glob(folders.ASIDE)] != []
    assert not path.exists()
    checkpoint.save(path, {"a": np.zeros(2)}, {"step": 2})
    assert [each.name for each in tmp_path.iterdir()] == ["work.h5"]
