"""What runs carry from step to step as plain arrays in the host's memory, as files have them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array

T = TypeVar("T")


def leaves_of(tree: Any) -> list[np.ndarray]:
    """The arrays of a pytree in order, random keys as their data; each as it is, to the last bit."""
    return [np.asarray(_plain(leaf)) for leaf in jax.tree.leaves(tree)]


def with_leaves(like: T, leaves: Sequence[np.ndarray]) -> T:
    """The pytree again, still on the host but for the keys, from one of its structure (arrays or shapes).

    Raises:
      ValueError: there are more or fewer leaves than the structure has.
    """
    pairs = zip(jax.tree.leaves(like), leaves, strict=True)
    return jax.tree.unflatten(jax.tree.structure(like), [_as(*pair) for pair in pairs])


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Array) -> Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _as(like: Any, leaf: np.ndarray) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(leaf)) if _is_key(like) else leaf
