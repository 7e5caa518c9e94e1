"""Raw files: local ones by their paths, remote ones by local copies."""

from __future__ import annotations

import glob
import gzip
import re
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem
from kedro.io import AbstractDataset

from sidiff.errors import SidiffError
from sidiff.files import atomic_file
from sidiff.reviews.download import fetch
from sidiff.storage import atomic_object

_WILDCARD = re.compile(r"[*?\[]")


class RawFile(AbstractDataset[list[str], list[Path]]):
    """One raw file or several, loaded as paths.

    Loading returns paths, so that parsing streams the files and reports line numbers.
    Remote files are copied first, because they are read several times.

    Saving writes lines as one gzip file with a fixed header, so equal lines give equal
    bytes. An empty list of lines leaves an existing file unchanged.
    """

    def __init__(
        self,
        filepath: str,
        copies: str,
        url: str | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the files.

        Args:
            filepath: path of a file, of a folder (with all files below it), or a
                pattern such as ``logs/*.csv``; or an fsspec address of these
                (``s3://...``); or the http(s) address of one file.
            copies: local folder for copies of remote files.
            url: http(s) address from which an absent single file is downloaded.
            credentials: arguments of the file system of an address.
            metadata: for plugins; not used here.
        """
        self._filepath = filepath
        self._copies = Path(copies)
        self._url = url
        self._credentials = credentials or {}
        self.metadata = metadata

    def load(self) -> list[Path]:
        """Return the sorted paths of the files; absent files are downloaded first.

        Of several files, empty ones are left out, and so are names that begin with
        ``_`` or ``.``, which other tools use for markers.

        Raises:
            SidiffError: a file is missing, or cannot be read or downloaded.
        """
        if _is_http(self._filepath):
            name = PurePosixPath(urlsplit(self._filepath).path).name
            return [fetch(self._filepath, self._copies / name)]
        if _is_address(self._filepath):
            return self._copy_all()
        path = Path(self._filepath)
        try:
            return self._find(path)
        except OSError as error:
            raise SidiffError(
                f"{path} cannot be read ({error.strerror}): give sidiff the right to "
                "read it, or correct the path."
            ) from error

    def _find(self, path: Path) -> list[Path]:
        if path.is_file():
            return [path]
        if path.is_dir():
            found = [one for one in path.rglob("*") if _is_data(one, path)]
        elif _WILDCARD.search(self._filepath):
            found = [Path(one) for one in glob.glob(self._filepath, recursive=True)]
        elif self._url is not None:
            return [fetch(self._url, path)]
        else:
            raise SidiffError(
                f"There is no file {path}; name the raw files under raw_files in "
                "globals.yml of the environment or with --params=raw_reviews=PATH,"
                "raw_metadata=PATH, or make the synthetic ones with kedro run "
                "--pipeline=sample_data."
            )
        found = _not_empty([one for one in found if one.is_file()])
        if not found:
            raise SidiffError(f"There are no files in {path}: correct the path.")
        return sorted(found)

    def save(self, data: list[str]) -> None:
        """Write lines, given without line ends, as a gzip file.

        Raises:
            SidiffError: the disk or the store refuses it; the old file is unchanged.
        """
        if not data:
            return
        files, path = self._place()
        with (
            atomic_object(files, path) as part,
            part.open("wb") as raw,
            # Without name and time in the header, equal lines give equal bytes.
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file,
        ):
            for line in data:
                file.write(line.encode() + b"\n")

    def _place(self) -> tuple[Any, str]:
        """Return the file system of the files, and their path in it."""
        if not _is_address(self._filepath):
            return LocalFileSystem(), self._filepath
        files, path = fsspec.core.url_to_fs(self._filepath, **self._credentials)
        files.invalidate_cache()
        return files, path

    def _copy_all(self) -> list[Path]:
        """Copy the files of an address, except those whose copy is up to date."""
        try:
            files, root = self._place()
            if self._url is not None and not files.exists(root):
                with atomic_object(files, root) as part:
                    fetch(self._url, part)
            names = _remote_names(files, root)
            found = [_copy(files, name, self._copies) for name in names]
        except SidiffError:
            raise
        # Every file system has its own errors, which need not be an OSError.
        except Exception as error:
            raise SidiffError(
                f"{self._filepath} cannot be read ({type(error).__name__}: {error}): "
                "correct the address and the credentials, or install what its file "
                'system needs (for s3: pip install "sidiff[s3]").'
            ) from error
        return _not_empty(found) or found

    def _exists(self) -> bool:
        if _is_http(self._filepath):
            return False
        files, path = self._place()
        return bool(files.exists(path))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "url": self._url}


def _is_address(path: str) -> bool:
    return "://" in path


def _is_http(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def _not_empty(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.stat().st_size]


def _is_data(path: PurePath, folder: Path | str) -> bool:
    parts = path.relative_to(folder).parts
    return not any(part.startswith(("_", ".")) for part in parts)


def _remote_names(files: Any, root: str) -> list[str]:
    if _WILDCARD.search(root):
        names = [name for name in files.glob(root) if files.isfile(name)]
    elif files.isdir(root):
        names = [one for one in files.find(root) if _is_data(PurePosixPath(one), root)]
    else:
        names = [root]
    if not names:
        raise FileNotFoundError("there are no files")
    return sorted(names)


def _copy(files: Any, name: str, copies: Path) -> Path:
    # The name of the folder depends on etag or size and time, so a file that changes
    # is copied again.
    copy = copies / files.ukey(name)[:16] / PurePosixPath(name).name
    if not copy.exists():
        with atomic_file(copy) as part:
            files.get_file(name, str(part))
    return copy
