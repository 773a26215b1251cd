"""Compiled programs, of which a process can hold only so many."""

import jax.numpy as jnp

from jaxnst.core import compilation


def test_programs_of_many_sizes_are_not_all_kept(monkeypatch):
    monkeypatch.setattr(compilation, "PROGRAMS_KEPT", 3)
    traced = []

    @compilation.jit
    def total(values):
        traced.append(values.shape)
        return values.sum()

    for size in (1, 2, 3, 1, 4, 4, 1):
        assert total(jnp.ones(size)) == size
    assert [shape for (shape,) in traced] == [1, 2, 3, 4, 4, 1]
