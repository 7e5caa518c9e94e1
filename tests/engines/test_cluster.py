"""Joining a cluster that runs already: there, absent, or asking for a token."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidiff.engines.cluster import check_cluster, source_paths
from sidiff.errors import SidiffError
from tests.engines.test_ddp import children

JOIN = """
import sys
from sidiff.engines.cluster import cluster
with cluster(sys.argv[1], 1) as ray:
    print(ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("address", [None, "auto", "local"])
def test_what_names_no_host_is_left_to_ray(address: str | None) -> None:
    check_cluster(address)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_nobody_at_the_address_is_said_at_once(form: str) -> None:
    began = time.monotonic()
    with pytest.raises(SidiffError, match=r"no Ray cluster to join at ray\.address"):
        check_cluster(form.format(free_port()))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["host:99999", "host:port"])
def test_no_address_at_all(address: str) -> None:
    with pytest.raises(SidiffError, match="that is no host:port"):
        check_cluster(address)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a cluster that asks for the token "0123456789abcdef"."""
    port = free_port()
    # Ray's sockets lie below it, and their paths may not be long.
    folder = tmp_path_factory.mktemp("r", numbered=True)
    short = Path("/tmp") / f"r{os.getpid()}"  # noqa: S108
    short.symlink_to(folder)
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--port={port}", "--num-cpus=1", "--include-dashboard=false"),
        *("--node-ip-address=127.0.0.1", f"--temp-dir={short}"),
        "--disable-usage-stats",
    ]
    log = (folder / "head.log").open("wb")
    started = subprocess.Popen(  # noqa: S603
        command, env=environment("token"), stdout=log, stderr=log, process_group=0
    )
    try:
        for _ in range(600):
            if b"Ray runtime started" in (folder / "head.log").read_bytes():
                break
            assert started.poll() is None, (folder / "head.log").read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        for process in [*children(started.pid), started.pid]:
            os.kill(process, signal.SIGKILL)
        started.wait()
        log.close()
        short.unlink()


def environment(mode: str | None, token: str = "0123456789abcdef") -> dict[str, str]:  # noqa: S107
    others = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    given = {"PYTHONPATH": source_paths(), "RAY_AUTH_TOKEN": token}
    return others | given | ({} if mode is None else {"RAY_AUTH_MODE": mode})


def join(address: str, token: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", JOIN, address],
        env=environment(None, token),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_cluster_is_joined_by_its_address_and_token(head: str) -> None:
    joined = join(head, "0123456789abcdef")
    assert joined.stdout.split()[-1:] == ["42"], joined.stderr


@pytest.mark.slow
def test_the_wrong_token_is_not_an_absent_cluster(head: str) -> None:
    refused = join(head, "fedcba9876543210")
    assert refused.returncode != 0
    assert "the one in RAY_AUTH_TOKEN or ~/.ray/auth_token" in refused.stderr
