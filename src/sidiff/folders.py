"""Folders that are complete or absent, with the SHA-256 of every file in a manifest.

The manifest is written last, so a folder with a manifest is complete. On a disk, the
folder then gets its name; in an object store, the manifest is the last upload.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

from sidiff.errors import SidiffError
from sidiff.files import UNFINISHED, disk_errors, sync
from sidiff.fingerprints import of_file, of_values
from sidiff.storage import address_of, download, is_local, read_bytes, store_errors

MANIFEST = "manifest.json"
"""Name of the file that lists the others."""


@contextmanager
def whole_folder(files: Any, path: str, about: dict[str, Any]) -> Iterator[Path]:
    """Write a folder that readers see complete or not at all, even after a crash.

    Args:
        files: an fsspec file system.
        path: the final folder in it, which must not exist.
        about: further entries of the manifest, as JSON; read when the block ends.

    Yields:
        A folder of this machine for files, without subfolders.

    Raises:
        SidiffError: the disk or the store refuses it.
    """
    if not is_local(files):
        with TemporaryDirectory(prefix="sidiff-") as name:
            part = Path(name)
            with disk_errors(part):
                yield part
                _write_manifest(part, about)
            for file in sorted(part.iterdir(), key=lambda one: one.name == MANIFEST):
                place = f"{path}/{file.name}"
                with store_errors(files, place, absence=True):
                    files.put_file(str(file), place)
            files.invalidate_cache()
        return
    final = Path(path)
    part = final.with_name(final.name + UNFINISHED)
    rmtree(part, ignore_errors=True)  # left by a crash
    try:
        with disk_errors(final):
            part.mkdir(parents=True)
            yield part
            _write_manifest(part, about)
            for written in (*part.iterdir(), part):
                sync(written)
            part.rename(final)
            sync(final.parent)
    except BaseException:
        rmtree(part, ignore_errors=True)
        raise


def read_manifest(folder: Path, kind: str, remedy: str) -> dict[str, Any]:
    """Check every file; return the manifest's entries and a ``fingerprint``.

    Args:
        folder: a folder on this machine.
        kind: the required entry ``kind`` of the manifest.
        remedy: a clause that ends the errors.

    Raises:
        SidiffError: the folder has no such manifest, or a file is damaged.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        about, files = manifest["about"], manifest["files"]
        intact = manifest["sha256"] == of_values([about, files])
        about_kind = about.get("kind")
    except FileNotFoundError as error:
        raise SidiffError(f"{folder} has no {MANIFEST}; {remedy}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SidiffError(
            f"{folder / MANIFEST} cannot be read or is no manifest of sidiff; {remedy}."
        ) from error
    if not intact:
        raise SidiffError(f"{folder / MANIFEST} is damaged; {remedy}.")
    if about_kind != kind:
        raise SidiffError(f"{folder} is no {kind} but a {about_kind}; {remedy}.")
    for name, entry in files.items():
        file = folder / name
        try:
            digest = of_file(file)
        except OSError as error:
            raise SidiffError(
                f"{file} cannot be read ({error.strerror}); {remedy}."
            ) from error
        if digest != entry["sha256"]:
            raise SidiffError(
                f"{file} is damaged: its SHA-256 differs from the one in {MANIFEST}; "
                f"{remedy}."
            )
    return {**about, "fingerprint": of_values(files)}


@contextmanager
def local_folder(files: Any, path: str) -> Iterator[Path]:
    """Provide the files of ``path`` in a folder on this machine.

    Raises:
        SidiffError: there is no such folder.
        StorageError: the store cannot be read.
    """
    if is_local(files):
        yield Path(path)
        return
    with TemporaryDirectory(prefix="sidiff-") as name:
        folder = Path(name)
        try:
            content = read_bytes(files, f"{path}/{MANIFEST}")
        except FileNotFoundError as error:
            raise SidiffError(
                f"{address_of(files, path)} has no {MANIFEST}; name a folder that is "
                "complete."
            ) from error
        (folder / MANIFEST).write_bytes(content)
        for file in json.loads(content)["files"]:
            download(files, f"{path}/{file}", folder / file)
        yield folder


def _write_manifest(folder: Path, about: dict[str, Any]) -> None:
    files = {
        file.name: {"sha256": of_file(file), "bytes": file.stat().st_size}
        for file in sorted(folder.iterdir())
    }
    about = json.loads(json.dumps(about, allow_nan=False))
    manifest = {"about": about, "files": files, "sha256": of_values([about, files])}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
