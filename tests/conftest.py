"""Pictures that several test files use."""

import os
from pathlib import Path

import pytest

# Before JAX starts: eight devices, of which all but the tests of several use the first.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def photo():
    """A photo, 512x512."""
    return EXAMPLES / "astronaut.jpg"


@pytest.fixture
def painting():
    """A painting, 657x442."""
    return EXAMPLES / "great_wave.jpg"


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    """A cache folder for the tests; JAX's settings are put back."""
    import jax

    monkeypatch.setenv("JAXNST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)
