"""Tests README and docs: commands run, code uses names that exist, links lead to files and headings."""

import ast
import importlib
import inspect
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxnst

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / name / "README.md" for name in ("weights", "examples")),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "notes.md"),
]
SCHEDULER = {
    "COUNT": "4",
    "SIZE": "4",
    "NTASKS": "4",
    "TASK_ID": "1",
    "RANK": "0",
    "PROCID": "0",
    "_INDEX": "0",
}
"""Values of environment variables that schedulers set, by the end of the variable's name."""


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(page, *languages):
    """Returns the code blocks of a page in some languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def expanded(command):
    """Replaces the variables of schedulers by values, as a shell would."""

    def value(match):
        name = match[1] or match[2]
        number = next(number for end, number in SCHEDULER.items() if name.endswith(end))
        return str(int(number) + 1) if match[1] else number

    return re.sub(r"\$\(\((\w+) \+ 1\)\)|\$(\w+)", value, command)


def commands(page):
    """Returns the arguments of every `jaxnst` command in the code blocks of a page."""
    lines = "\n".join(blocks(page, "sh", "yaml")).replace("\\\n", " ").splitlines()
    found = (re.search(r"""(?:^|[\s/'"])jaxnst (.*?)(?:; |['"]| +# |$)""", line) for line in lines)
    return [expanded(match[1]).split() for match in found if match]


COMMANDS = {" ".join(command): command for page in PAGES for command in commands(page)}


# --- Commands


@pytest.mark.fast
def test_the_pages_have_commands():
    assert {command[0] for command in COMMANDS.values()} >= {
        "stylize",
        "reconstruct",
        "interpolate",
        "batch",
        "evaluate",
        "study",
        "weights",
        "presets",
    }


@pytest.mark.fast
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_parses(command, tmp_path, monkeypatch, own_cache, capsys):
    """Runs each command without its files: if it parses, it ends with a message that a file is missing.

    A command that does not parse ends with a message about an option, or about the help.
    """
    from jaxnst.cli.main import main

    monkeypatch.chdir(tmp_path)
    command = list(command)
    if command[:2] == ["weights", "fetch"]:
        command += ["--file", "missing.pth"]  # instead of a download
    if command[0] == "stylize":
        command += ["--out", "missing/picture.png"]  # refused before processes meet
    status = main(command)
    message = capsys.readouterr().err
    assert (status, message) == (0, "") or (status == 2 and message.startswith("jaxnst: ")), message
    assert not re.search("--help|there is no option", message), message


@pytest.mark.fast
def test_the_readme_is_short_and_has_its_two_commands():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 160
    two = [line for line in lines if line.startswith("python3 -m venv .venv && ")]
    assert len(two) == 2
    assert two[0].endswith("--out stylized.png")
    assert two[1].endswith('.venv/bin/pytest -n 2 -m "not slow"')


def noise(path, height=48, width=64, seed=0):
    """Writes a picture of coarse and fine noise."""
    generator = np.random.default_rng([seed, *path.name.encode()])
    coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8)).resize((width, height))
    fine = generator.integers(-20, 20, (height, width, 3))
    Image.fromarray(np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def desk(tmp_path, monkeypatch, own_cache):
    """Makes a folder with all files that the commands of the pages read, and enters it."""
    monkeypatch.chdir(tmp_path)
    for name in ("photo", "painting", "monet", "klee", "a", "b", "c", "d"):
        noise(tmp_path / f"{name}.jpg")
    for name in ("a", "b"):
        noise(tmp_path / f"{name}.png")
    for folder in ("photos", "paintings"):
        (tmp_path / folder).mkdir()
        for name in ("1", "2"):
            noise(tmp_path / folder / f"{folder}{name}.jpg")
    sky = np.zeros((48, 64), np.uint8)
    sky[:24] = 255
    Image.fromarray(sky).save(tmp_path / "sky.png")
    Image.fromarray(255 - sky).save(tmp_path / "ground.png")
    [manifest] = blocks(ROOT / "docs" / "batches.md", "csv")
    (tmp_path / "manifest.csv").write_text(manifest)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "weights" / "vgg19_caffe.h5", tmp_path / "vgg19_float.h5")
    return tmp_path


def with_value(command, option, value):
    """Changes the value of an option of a command, or adds the option."""
    if option not in command:
        return [*command, option, value]
    index = command.index(option) + 1
    return [*command[:index], value, *command[index + 1 :]]


def small(command):
    """Returns a command that does the same with small pictures, few steps and one process."""
    command = [argument.removeprefix("/data/") for argument in command]
    name = command[0]
    if name in ("stylize", "reconstruct", "interpolate", "batch") and "--config" not in command:
        command = with_value(with_value(command, "--size", "64"), "--steps", "2")
    if name == "evaluate":
        command = with_value(command, "--size", "64")
    if name == "study":
        command = with_value(command, "--size", "32") + ["--quick"] * ("--quick" not in command)
    if "--start-size" in command:
        command = with_value(command, "--start-size", "48")
    if "--scale-steps" in command:  # of which there are two between 48 and 64 pixels
        first = command.index("--scale-steps") + 1
        after = next((i for i, word in enumerate(command) if i > first and word.startswith("--")), None)
        command[first:after] = ["1", "1"]
    if "--distributed" in command:  # there is no cluster here to ask
        command.remove("--distributed")
        command += ["--coordinator-address", "host0:1234"]
    if "--coordinator-address" in command:
        with socket.create_server(("localhost", 0)) as server:
            address = f"localhost:{server.getsockname()[1]}"
        command = with_value(command, "--coordinator-address", address)
        command = with_value(with_value(command, "--num-processes", "1"), "--process-id", "0")
    return command


def has_written(command):
    """Checks that a command has written its output: a picture, or a folder with files."""
    if "--out" not in command:
        return True
    out = Path(command[command.index("--out") + 1])
    if out.is_dir():
        return any(out.iterdir())
    with Image.open(out) as picture:
        return min(picture.size) >= 48


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_every_command_runs(page, desk):
    for command in commands(page):
        if command[:2] == ["weights", "fetch"]:
            continue  # which needs the network
        command = small(command)
        done = subprocess.run(
            [sys.executable, "-m", "jaxnst", *command], capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"jaxnst {' '.join(command)}\n{done.stdout}\n{done.stderr}"
        assert has_written(command), command


# --- Python


PYTHON = [(page, text) for page in PAGES for text in blocks(page, "python")]


def imported(tree):
    """Returns the objects that a program imports from jaxnst, by name; fails if one does not exist."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxnst":
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                names[alias.asname or alias.name] = getattr(module, alias.name)
    return {"jaxnst": jaxnst, **names}


def resolved(node, names):
    """Returns the object that a dotted name refers to, or None if it is not from jaxnst."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolved(node.value, names)
        if inspect.ismodule(owner) or inspect.isclass(owner):
            assert hasattr(owner, node.attr), f"{owner.__name__} has no {node.attr}"
            return getattr(owner, node.attr)
    return None


@pytest.mark.fast
@pytest.mark.parametrize(
    ("page", "text"), PYTHON, ids=[f"{name_of(page)}-{text.splitlines()[0]}" for page, text in PYTHON]
)
def test_python_uses_what_jaxnst_has(page, text):
    tree = ast.parse(text)
    names = imported(tree)
    settings = set(inspect.signature(jaxnst.Config).parameters)
    for node in ast.walk(tree):
        function = resolved(node.func if isinstance(node, ast.Call) else node, names)
        if isinstance(node, ast.Call) and function is not None:
            parameters = inspect.signature(function).parameters
            known = {*parameters, *settings} if "settings" in parameters else {*parameters}
            assert {keyword.arg for keyword in node.keywords} <= known


# --- Links


def anchors(page):
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.fast
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.fast
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_in_the_text_exist(page):
    rooms = "jaxnst|tests|scripts|benchmarks|docs|examples|weights"
    for path in re.findall(rf"`((?:{rooms})/[\w./-]+)`", page.read_text("utf-8")):
        assert (ROOT / path).exists(), path


# --- Versions


@pytest.mark.fast
def test_pre_commit_has_the_ruff_of_the_extra_dev():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [ruff] = (name for name in project["optional-dependencies"]["dev"] if name.startswith("ruff"))
    hooks = re.findall(r"ruff==[\d.]+", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert hooks == [ruff] * 2
