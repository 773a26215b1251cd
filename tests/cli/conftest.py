"""Runs the command as a user does, and gives it a place for its output."""

import pytest

from jaxnst.cli.main import main


@pytest.fixture
def run():
    """The command, on arguments of any type; returns the exit status."""
    return lambda *arguments: main([str(argument) for argument in arguments])


@pytest.fixture
def out(tmp_path):
    """A picture to write, in a folder of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "picture.png"
