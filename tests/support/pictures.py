"""Random pictures, and the message of a refused input."""

import numpy as np
import pytest

from jaxnst.errors import InputError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def noise(height=9, width=13, channels=3, seed=0):
    """Returns random pixels, uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def refusal(call, *args, **kwargs) -> str:
    """Returns the message with which a call refuses its input; it must be one line and end a sentence."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert message[-1] in ".?"
    return message
