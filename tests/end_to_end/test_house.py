"""The rules of the house: what imports what, and that importing does nothing."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxnst

ROOT = Path(jaxnst.__file__).parent
README = Path(__file__).parents[2] / "README.md"


def imports(path):
    """Names of the modules that a file imports, apart from `if TYPE_CHECKING:`."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", sorted((ROOT / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_core_imports_compute_libraries_and_itself_only(path):
    for name in imports(path):
        known = name.startswith("jaxnst.core") or name.split(".")[0] in {"jax", "flax", "optax", "numpy"}
        assert known or name.split(".")[0] in sys.stdlib_module_names, name


def run_python(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_import_needs_no_optional_library_and_starts_no_device():
    program = """
import sys
for name in (
    "tyro pooch tqdm matplotlib jaxtyping psutil platformdirs requests torch skimage png tifffile".split()
):
    sys.modules[name] = None
import os, jax
before = dict(os.environ), dict(jax.config.values)
import jaxnst
for name in jaxnst.__all__:
    getattr(jaxnst, name)
from jax._src import xla_bridge
assert not xla_bridge._backends, "a device was initialised"
assert before == (dict(os.environ), dict(jax.config.values))
print(jaxnst.__version__)
"""
    assert run_python(program).strip() == jaxnst.__version__


def test_names_are_loaded_when_they_are_used():
    program = """
import sys, jaxnst
assert not {"jax", "flax", "numpy"} & {*sys.modules}
assert {*jaxnst.__all__} <= {*dir(jaxnst)}
import jaxnst.studies  # which loads other modules of the package
assert callable(jaxnst.stylize) and jaxnst.Config(size=64).size == 64
try:
    jaxnst.stilyze
except AttributeError as error:
    print(error)
"""
    assert "'stilyze'" in run_python(program)


def test_the_readmes_own_loop_lowers_the_loss(tmp_path, monkeypatch):
    [block] = re.findall(r"```python\n(import jax, optax.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in ("photo.jpg", "painting.jpg"):
        Image.fromarray(generator.integers(0, 256, (32, 40, 3), np.uint8)).save(name)
    seen = {}
    exec(
        block.replace("range(100)", "range(3)").replace("256", "32")
        + "\n    first = locals().get('first', value)",
        seen,
    )
    assert float(seen["value"]) < float(seen["first"])
