"""The release of jaxnst that is installed."""

from importlib import metadata


def version() -> str:
    """Returns the version of the installed package, for example `0.1.0`."""
    return metadata.version("jaxnst")
