"""The rules of the house: who may import whom, what stands at the top, and that importing does nothing."""

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
MODULES = sorted(ROOT.rglob("*.py"))

ROOMS = {
    "cli": {"studies", "api", "batch", "run", "config", "io", "metrics", "core"},
    "studies": {"api", "batch", "run", "config", "io", "metrics", "core"},
    "api": {"batch", "run", "config", "io", "core"},
    "batch": {"run", "config", "io"},
    "run": {"config", "io", "core"},
    "metrics": {"io", "core"},
    "config": {"core"},
    "io": {"core"},
    "core": set(),
    "errors": set(),
}
"""For each room the rooms that it may import, beside itself and `errors`."""

COMPUTE = {"jax", "flax", "optax", "numpy"}
"""Libraries that the core may import."""


def imports(path, type_only=True):
    """Lists the modules that a file imports anywhere: at the top, in functions, for types alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING" and not type_only
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "jaxnst":
                yield from (f"jaxnst.{alias.name}" for alias in node.names)
            else:
                yield node.module


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.fast
@pytest.mark.parametrize("path", [path for path in MODULES if path.parent != ROOT], ids=name)
def test_imports_point_down(path):
    room = path.relative_to(ROOT).parts[0]
    for module in imports(path):
        package, _, rest = module.partition(".")
        if package == "jaxnst":
            target = rest.partition(".")[0]
            assert target in {room, "errors"} | ROOMS[room], f"{room} must not import {module}"


@pytest.mark.fast
def test_every_room_is_known():
    entries = {path.stem for path in ROOT.iterdir() if path.name != "__pycache__" and path.name != "data"}
    assert entries == {*ROOMS, "__init__", "__main__", "py"}
    assert len(entries) <= 14


@pytest.mark.fast
@pytest.mark.parametrize("path", sorted((ROOT / "core").rglob("*.py")), ids=name)
def test_the_core_imports_compute_libraries_and_itself_only(path):
    for module in imports(path, type_only=False):
        library = module.split(".")[0]
        assert module.startswith("jaxnst.core") or library in COMPUTE | sys.stdlib_module_names, module


@pytest.mark.fast
@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_is_unpickled_and_no_private_part_of_jax_is_used(path):
    for module in imports(path):
        assert module.split(".")[0] not in {"pickle", "dill", "cloudpickle"}
        assert not module.startswith("jax._src")


@pytest.mark.fast
def test_what_the_core_calls_public_exists():
    from jaxnst import core

    assert sorted(core.__all__) == sorted(set(core.__all__))
    assert all(getattr(core, item) is not None for item in core.__all__)


def run_python(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.fast
def test_import_needs_no_optional_library_and_starts_no_device():
    program = """
import sys
optional = "tyro pooch tqdm matplotlib jaxtyping psutil platformdirs requests torch skimage png tifffile"
for name in (optional + " filelock").split():
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


@pytest.mark.fast
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
    for file in ("photo.jpg", "painting.jpg"):
        Image.fromarray(generator.integers(0, 256, (32, 40, 3), np.uint8)).save(file)
    names = {}
    exec(
        block.replace("range(100)", "range(3)").replace("256", "32")
        + "\n    first = locals().get('first', value)",
        names,
    )
    assert float(names["value"]) < float(names["first"])
