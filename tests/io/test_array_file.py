"""Tests of files of named arrays, and of pytrees as lists of arrays."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxnst.io import array_file
from jaxnst.io.files import ASIDE

pytestmark = pytest.mark.fast


def test_arrays_and_metadata_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "work.h5"
    generator = np.random.default_rng(0)
    arrays = {
        "a/0": generator.standard_normal((3, 4)).astype(np.float32),
        "a/1": np.array(True),
        "keys": generator.integers(0, 2**32, 2, np.uint32),
    }
    array_file.save(path, arrays, {"step": 7, "names": ["x"]})
    loaded, about = array_file.load(path)
    assert about == array_file.about(path) == {"step": 7, "names": ["x"]}
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        assert (loaded[name] == array).all()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "work.h5"
    array_file.save(path, {"a": np.zeros(2)}, {"step": 1})
    with pytest.raises(TypeError):
        array_file.save(path, {"a": np.array([object()])}, {"step": 2})
    assert array_file.load(path)[1] == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["work.h5"]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "other"])
def test_a_missing_or_damaged_file_is_none(tmp_path, damage):
    path = tmp_path / "work.h5"
    if damage != "missing":
        array = np.random.default_rng(0).random(1000)
        array_file.save(path, {"a": array}, {})
        data = path.read_bytes()
        at = data.index(array.tobytes()) + 4000
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        cut = data[: len(data) // 2]
        path.write_bytes({"empty": b"", "cut": cut, "flipped": flipped, "other": b"not HDF5" * 99}[damage])
    assert array_file.load(path) is None
    if damage != "flipped":  # only `load` reads every byte
        assert array_file.about(path) is None


def test_the_next_save_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    path = tmp_path / "work.h5"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(os, "fsync", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            array_file.save(path, {"a": np.zeros(2)}, {})
    assert [file.name for file in tmp_path.glob(ASIDE)] != []
    assert not path.exists()
    array_file.save(path, {"a": np.zeros(2)}, {"step": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["work.h5"]


def test_a_pytree_with_a_random_key_is_rebuilt_from_its_leaves():
    tree = {"key": jax.random.key(3), "state": (np.float32(0.1), jax.numpy.arange(4))}
    leaves = array_file.leaves_of(tree)
    assert all(type(leaf) is np.ndarray for leaf in leaves)
    rebuilt = array_file.with_leaves(jax.eval_shape(lambda: tree), leaves)
    assert jax.tree.structure(rebuilt) == jax.tree.structure(tree)
    assert jax.random.uniform(rebuilt["key"]) == jax.random.uniform(tree["key"])
    for leaf, array in zip(array_file.leaves_of(rebuilt), leaves, strict=True):
        assert leaf.dtype == array.dtype
        np.testing.assert_array_equal(leaf, array)
    with pytest.raises(ValueError):
        array_file.with_leaves(tree, leaves[1:])
