"""Connection to a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sidiff
from sidiff.errors import SidiffError
from sidiff.parameters import Device

CONNECT_SECONDS = 5.0


def check_cluster(address: str | None) -> None:
    """Check the address before joining, which takes minutes to fail.

    Raises:
        SidiffError: Ray is not installed, or nothing answers at the address.
    """
    if find_spec("ray") is None:
        raise SidiffError(
            "An engine is 'ray' but Ray is not installed; run pip install "
            "'sidiff[ray]', or set that engine to another."
        )
    url = urlsplit(address if "://" in (address or "") else f"//{address or ''}")
    try:
        host, port = url.hostname, url.port
    except ValueError as error:
        raise _no_cluster(address, "that is no host:port") from error
    # Ray also takes words such as auto.
    if host is None or port is None:
        return
    try:
        socket.create_connection((str(host), port), CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from error


def _no_cluster(address: str | None, reason: str) -> SidiffError:
    return SidiffError(
        f"There is no Ray cluster to join at ray.address {address!r} ({reason}); start "
        "one there, or set it to null for one of this machine."
    )


@contextmanager
def cluster(address: str | None, processes: int) -> Iterator[Any]:
    """Join a Ray cluster for the block; yields the module ``ray``.

    Args:
        address: of a running cluster, as Ray writes it; None for one of this machine
            that ends with the block.
        processes: CPUs that a cluster of this machine offers.

    Raises:
        SidiffError: Ray is not installed, there is no cluster at the address, or a
            task of the block fails on it.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray writes its other messages to its log files.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    check_cluster(address)
    tokens = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    token = Path.home() / ".ray/auth_token"
    if address is not None and (any(map(os.environ.get, tokens)) or token.exists()):
        # ray start requires a token by default, and ray.init does not send one unless
        # this is set. A cluster without tokens ignores it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray  # noqa: PLC0415 (an extra, and slow to import)

    # The calling program may have joined a cluster already, and then leaves it itself.
    joined_here = not ray.is_initialized()
    if joined_here:
        _join(ray, address, processes)
    try:
        yield ray
    except ray.exceptions.RayError as error:
        reason = last_line(error)
        reason = reason.removeprefix(f"{SidiffError.__module__}.SidiffError: ")
        raise SidiffError(f"The work on the Ray cluster failed: {reason}") from error
    finally:
        if joined_here:
            ray.shutdown()


def _join(ray: Any, address: str | None, processes: int) -> None:
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {
            "address": "local",
            "num_cpus": processes,
            "include_dashboard": False,
            "runtime_env": {"env_vars": {"PYTHONPATH": source_paths()}},
        }
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(
            address,
            f"{last_line(error)}; a cluster that asks for a token takes the one in "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token",
        ) from error


def last_line(error: Exception) -> str:
    """The last line of a long report: the error of the process that failed."""
    return str(error).strip().rpartition("\n")[2] or type(error).__name__


def source_paths() -> str:
    """The PYTHONPATH with which another process finds this package.

    Kedro runs it from the project's folder, so it need not be installed.
    """
    source = str(Path(sidiff.__file__).parent.parent)
    return os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))


def uses_gpus(ray: Any, device: Device, processes: int) -> bool:
    """Test that the cluster has a GPU for each of the processes."""
    if device == "auto":
        return bool(ray.cluster_resources().get("GPU", 0) >= processes)
    return device == "cuda"
