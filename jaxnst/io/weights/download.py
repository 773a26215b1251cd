"""Downloads a large file: resumes after an interruption, and checks the SHA-256 before the file appears."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxnst.errors import InputError


@dataclass(frozen=True)
class Source:
    """Describes a file to download.

    Attributes:
      url: its address.
      sha256: its SHA-256 in hex.
      size: its size in bytes.
    """

    url: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        """Returns the last part of the address."""
        return self.url.rsplit("/", 1)[-1]


def download(source: Source, folder: Path, progress: bool) -> Path:
    """Downloads a file and checks its hash; continues FILENAME.part if an earlier attempt left one.

    Args:
      source: the file to download.
      folder: an existing folder to put it in.
      progress: whether to show a progress bar on standard error.

    Returns:
      The path of the downloaded file.

    Raises:
      InputError: there is no network, the connection broke, or the bytes have another hash.
      OSError: the write failed, for example because the disk is full.
    """
    import pooch
    import requests

    part = folder / f"{source.filename}.part"

    def downloader(url: str, output_file: str, _: object) -> None:
        try:
            _stream(url, part, source.size, progress)
        except requests.RequestException as error:
            cause = type(error).__name__ if error.response is None else f"HTTP {error.response.status_code}"
            raise InputError(_advice(source, part, cause)) from error
        part.replace(output_file)

    retrieve: Any = pooch.retrieve  # pooch annotates the downloader's arguments wrongly
    try:
        return Path(retrieve(source.url, source.sha256, source.filename, folder, downloader=downloader))
    except InputError:
        raise
    except ValueError as error:  # pooch has deleted the file
        cause = str(error).split(". ")[0]
        raise InputError(f"weights: {source.url} sent wrong bytes, now deleted: {cause}.") from None


def _stream(url: str, part: Path, size: int, progress: bool) -> None:
    """Downloads the bytes that `part` lacks and appends them; starts over if the server cannot resume."""
    import requests
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    if have == size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()
            _stream(url, part, size, progress)
            return
        response.raise_for_status()
        resumes = response.status_code == requests.codes.partial_content
        have = have if resumes else 0
        with (
            part.open("ab" if resumes else "wb") as opened,
            tqdm(total=size, initial=have, unit="B", unit_scale=True, disable=not progress) as bar,
        ):
            for chunk in response.iter_content(1 << 16):
                opened.write(chunk)
                bar.update(len(chunk))
    if part.stat().st_size < size:
        raise requests.ConnectionError("the connection closed early")


def _advice(source: Source, part: Path, cause: str) -> str:
    have = part.stat().st_size if part.exists() else 0
    kept = f"; {have} of {source.size} bytes are kept, and the same command resumes" if have else ""
    return (
        f"weights: could not download {source.url} ({cause}){kept}; without a network, download it on "
        f"another machine and run: jaxnst weights fetch torchvision --file {source.filename}"
    )
