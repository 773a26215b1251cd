"""A large file from the internet, resumed where it was cut, and checked before anybody sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxnst.errors import InputError


@dataclass(frozen=True)
class Source:
    """A file to download: its address, SHA-256 in hex, and size in bytes."""

    url: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]


def download(source: Source, folder: Path, progress: bool) -> Path:
    """Download a file and check its hash; an earlier attempt's FILENAME.part is continued.

    Args:
      source: what to download.
      folder: where to; it exists.
      progress: show a progress bar on standard error.

    Returns:
      The file.

    Raises:
      InputError: no network, a connection cut half-way, or wrong bytes.
      OSError: the disk is full or the like.
    """
    import pooch
    import requests

    part = folder / f"{source.filename}.part"

    def downloader(url: str, output_file: str, _: object) -> None:
        try:
            _stream(url, part, source.size, progress)
        except requests.RequestException as error:
            why = type(error).__name__ if error.response is None else f"HTTP {error.response.status_code}"
            raise InputError(_advice(source, part, why)) from error
        part.replace(output_file)

    retrieve: Any = pooch.retrieve  # its annotations have the downloader's arguments wrong
    try:
        return Path(retrieve(source.url, source.sha256, source.filename, folder, downloader=downloader))
    except InputError:
        raise
    except ValueError as error:  # pooch has deleted the file
        reason = str(error).split(". ")[0]
        raise InputError(f"weights: {source.url} sent wrong bytes, deleted now: {reason}.") from None


def _stream(url: str, part: Path, size: int, progress: bool) -> None:
    """Append to `part` until it has all bytes, from wherever it stops now."""
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


def _advice(source: Source, part: Path, reason: str) -> str:
    have = part.stat().st_size if part.exists() else 0
    kept = f"; {have} of {source.size} bytes are there, and running the same again resumes" if have else ""
    return (
        f"weights: could not download {source.url} ({reason}){kept}; without a network, download it on "
        f"another machine and run: jaxnst weights fetch torchvision --file {source.filename}"
    )
