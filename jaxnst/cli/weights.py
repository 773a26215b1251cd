"""`jaxnst weights`: the network's weights on this machine."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import arg

from jaxnst.errors import choose
from jaxnst.io.weights.load import fetch, list_weights, verify


def weights(
    action: Annotated[str, arg(metavar="list|fetch|verify")],
    name: Annotated[
        str, arg(metavar="NAME", help_behavior_hint="(default: torchvision to fetch, caffe to verify)")
    ] = "",
    /,
    file: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None,
) -> int:
    """List, download or verify the weights of the network.

    Args:
      action: What to do.
      name: caffe or torchvision. To verify, also the path of an HDF5 file.
      file: With fetch: a file that you downloaded yourself.
    """
    choose("action", action, ("list", "fetch", "verify"))
    if action == "fetch":
        print(fetch(name or "torchvision", file=file))
    elif action == "verify":
        print(f"{name or 'caffe'}: {verify(name or 'caffe')}")
    else:
        for record in list_weights():
            print(f"{record.name}: {record.location}\n  {record.source}\n  {record.licence}")
    return 0
