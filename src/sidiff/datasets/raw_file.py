"""A raw file on this machine: read where it lies, fetched once when it is absent."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from sidiff.errors import SidiffError
from sidiff.files import whole_file
from sidiff.reviews.download import fetch


class RawFile(AbstractDataset[list[str], Path]):
    """A gzip file of lines, known to the pipeline by its path.

    Loading gives the path and not the content, so that parsing streams the file
    and can name line numbers. Saving writes lines with a fixed gzip header: the
    same lines always make the same bytes.
    """

    def __init__(
        self,
        filepath: str,
        url: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file.

        Args:
            filepath: path of the file.
            url: http(s) address to fetch it from when it is absent.
            metadata: for plugins, ignored here.
        """
        self._filepath = Path(filepath)
        self._url = url
        self.metadata = metadata

    def load(self) -> Path:
        """Return the path of the file, fetched first when absent.

        Raises:
            SidiffError: the file is absent and there is no address, or the
                download failed.
        """
        if self._filepath.is_file():
            return self._filepath
        if self._filepath.is_dir():
            raise SidiffError(
                f"{self._filepath} is a folder; name the review and metadata files "
                "themselves with --params=raw_reviews=PATH,raw_metadata=PATH."
            )
        if self._url is None:
            raise SidiffError(
                f"There is no file {self._filepath}; name the raw files with "
                "--params=raw_reviews=PATH,raw_metadata=PATH, or make the synthetic "
                "ones with kedro run --pipeline=sample_data."
            )
        return fetch(self._url, self._filepath)

    def save(self, data: list[str]) -> None:
        """Write lines, without their line ends, as a gzip file.

        Readers see the old file or the whole new one, never a part of it.

        Raises:
            SidiffError: the disk is full or refuses; the old file is as it was.
        """
        with (
            whole_file(self._filepath) as part,
            part.open("wb") as raw,
            # No name and no time in the header: equal lines, equal bytes.
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file,
        ):
            for line in data:
                file.write(line.encode() + b"\n")

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "url": self._url}
