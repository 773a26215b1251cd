"""What the tests of pictures in and pictures out share."""

import numpy as np
import pytest

from jaxnst.errors import InputError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def noise(height=9, width=13, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def refusal(call, *args, **kwargs) -> str:
    """The message with which the call refuses its input: one line, one sentence."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert message[-1] in ".?"
    return message
