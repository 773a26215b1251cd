"""A checkpoint is the whole old one or the whole new one."""

import numpy as np
import pytest

from jaxnst import checkpoint


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


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
def test_what_cannot_be_read_is_none(tmp_path, damage):
    path = tmp_path / "work.h5"
    if damage != "missing":
        checkpoint.save(path, {"a": np.zeros(1000)}, {})
        data = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "other": b"not HDF5" * 99}[damage])
    assert checkpoint.load(path) is None
    assert checkpoint.about(path) is None
