"""Runs the command as `python -m jaxnst`."""

import sys

from jaxnst.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
