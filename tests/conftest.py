"""Pictures that several test files use."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def photo():
    """A photo, 512x512."""
    return EXAMPLES / "astronaut.jpg"


@pytest.fixture
def painting():
    """A painting, 657x442."""
    return EXAMPLES / "great_wave.jpg"
