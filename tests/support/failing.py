"""A style statistic of a user's own that raises while a flat picture is computed."""

import jax
import jax.numpy as jnp
import numpy as np

FLAT = {"start": "white", "optimizer": "sgd", "learning_rate": 1e-30}
"""Settings of a run whose picture is flat and stays so."""

NOISY = FLAT | {"start": "noise"}
"""Settings of a run whose picture is not flat; with those of `FLAT` it can be a lane of one program."""


class FailsOnFlat:
    """Compares mean features, and raises an error at some evaluations of a flat picture.

    The error comes from the device, at run time, as when memory runs out there. It works on tiles too.
    """

    additive = True

    def __init__(self, error, message="", at=None):
        """Keeps the class of the error, its message, and which evaluations raise it, from 1; None: all."""
        self.error, self.message, self.at, self.evaluations = error, message, at, 0

    def __call__(self, features, guide):
        """Returns sums over positions."""
        inside = features[2:-2, 2:-2]
        seen = jnp.stack([jnp.max(jnp.ptp(inside, axis=(0, 1))), jnp.max(jnp.abs(inside))])
        zero = jax.pure_callback(
            self.look,
            jax.ShapeDtypeStruct((), jnp.float32),
            jax.lax.stop_gradient(seen),
            vmap_method="sequential",
        )
        return jnp.einsum("hwc,hw->c", features, guide) + zero, jnp.sum(guide)

    def look(self, seen):
        """Raises the error if features that are not zero are the same everywhere; returns zero."""
        spread, largest = seen
        if spread < 1e-2 < largest:
            self.evaluations += 1
            if self.at is None or self.evaluations in self.at:
                raise self.error(self.message)
        return np.float32(0)

    def distance(self, summary, target):
        """Returns the mean square of the difference between the means."""
        (sums, size), (target_sums, target_size) = summary, target
        return jnp.mean((sums / size - target_sums / target_size) ** 2)
