"""Serving: latency and requests per second of a bundle.

Servers are separate processes: ``sidiff serve``, Cornac's Flask server with a SASRec of
the same catalogue (extra ``bench``), and with ``--model`` the same bundle behind
``mlflow models serve``. The load is by wrk (Debian package wrk): each client sends its
next request when the last is answered, one user a request and ten items a list, with
histories drawn from the bundle's items. In each round the servers take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import peer
from benchmarks.common import Row, hardware, parser, positive, publish
from sidiff.errors import SidiffError
from sidiff.serving import Bundle
from sidiff.serving.bundle import find_bundle

USERS = 200
LUA = """
local requests = REQUESTS
local headers = {["Content-Type"] = "application/json"}
local next = 0
request = function()
  next = next % #requests + 1
  local path, body = unpack(requests[next])
  return wrk.format(body and "POST" or "GET", path, headers, body)
end
done = function(summary, latency, requests)
  io.write(string.format(
    "RESULT %d %d %f %f %f %f\\n", summary.requests,
    summary.errors.status + summary.errors.connect + summary.errors.read
      + summary.errors.write + summary.errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
"""


class Server(NamedTuple):
    """A server to start, and what it is asked.

    Attributes:
        command: what starts it.
        environment: what it finds in addition.
        ready: a path that answers once it does.
        requests: path and body of each user's; without a body it is a GET.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    port: int
    ready: str
    requests: Sequence[tuple[str, object]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    options = parser("serving", __doc__)
    options.add_argument("bundle", help="a bundle, or a folder of versions")
    options.add_argument(
        "--seconds", type=positive, default=600, help="of every load (default 600)"
    )
    options.add_argument("--clients", type=positive, nargs="+", default=[1, 8, 32])
    options.add_argument(
        "--model", help="address of an MLflow model, models:/NAME@ALIAS"
    )
    settings = options.parse_args(arguments)
    if shutil.which("wrk") is None:
        raise SidiffError("wrk is not installed; install the package wrk.")
    machine = hardware()
    bundle = Bundle.read(find_bundle(settings.bundle))
    ids = bundle.items["item_id"].to_list()
    with tempfile.TemporaryDirectory() as folder:
        servers = list(_servers(settings, ids, Path(folder)))
        rows = [
            row
            for _ in range(settings.rounds)
            for server in servers
            for row in _loads(server, settings.clients, settings.seconds)
        ]
    figures = {"items": len(ids), "serving": rows}
    publish(settings, machine, figures)


def _servers(
    settings: argparse.Namespace, ids: list[str], folder: Path
) -> Iterator[Server]:
    random = np.random.default_rng(settings.seed)
    sizes = random.integers(1, 31, USERS)
    histories = [
        [ids[place] for place in random.integers(0, len(ids), size)] for size in sizes
    ]
    port = _free_port()
    ours = [sys.executable, "-m", "sidiff", "serve", settings.bundle]
    bodies = [("/recommendations", {"histories": [items]}) for items in histories]
    yield Server("sidiff", [*ours, "--port", str(port)], {}, port, "/health", bodies)
    if peer.available():
        from benchmarks import peer_server  # noqa: PLC0415 (needs the extra)

        port = _free_port()
        paths = [(f"/recommend?uid={user}&k=10", None) for user in range(USERS)]
        command, environment = peer_server.command(folder, ids, histories, port)
        yield Server("cornac", command, environment, port, paths[0][0], paths)
    if settings.model:
        port = _free_port()
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m"]
        command += [settings.model, "--env-manager", "local", "--port", str(port)]
        records = [
            ("/invocations", {"dataframe_records": [{"items": items}]})
            for items in histories
        ]
        yield Server("mlflow", command, {}, port, "/ping", records)


def _loads(server: Server, clients: Sequence[int], seconds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, _running(server) as process:
        script = Path(folder) / "load.lua"
        script.write_text(_lua(server), encoding="utf-8")
        for count in clients:
            _load(server.port, script, count, 1)  # kernels of oneDNN are made once
            before = _memory(process, "VmRSS")
            found = _load(server.port, script, count, seconds)
            requests, errors, took, p50, p95, p99 = map(float, found)
            yield {
                "server": server.name,
                "clients": count,
                "requests": int(requests),
                "errors": int(errors),
                "users_per_second": requests / took,
                "p50_ms": p50,
                "p95_ms": p95,
                "p99_ms": p99,
                "mib_before": before,
                "mib_after": _memory(process, "VmRSS"),
                "mib_peak": _memory(process, "VmHWM"),
            }


def _lua(server: Server) -> str:
    texts = (
        f'{{"{path}"}}' if body is None else f'{{"{path}", [==[{json.dumps(body)}]==]}}'
        for path, body in server.requests
    )
    return LUA.replace("REQUESTS", "{" + ", ".join(texts) + "}")


def _load(port: int, script: Path, clients: int, seconds: int) -> tuple[str, ...]:
    done = subprocess.run(  # noqa: S603 (a command of this file)
        [
            *("wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s"),
            *("--timeout", "30s", "-s", str(script), f"http://127.0.0.1:{port}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"RESULT (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)", done.stdout)
    if found is None:
        raise SidiffError(f"wrk says nothing of its load: {done.stdout[:200]}.")
    return found.groups()


@contextmanager
def _running(server: Server) -> Iterator[int]:
    """Run a server for a while; gives its process."""
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(places)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 (a command of this file)
            server.command,
            env=environment | {"OMP_NUM_THREADS": "1", **server.environment},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if not _answers(server):
                said.seek(0)
                words = said.read().decode(errors="replace")[-1000:]
                raise SidiffError(f"{server.name} does not answer. It said: {words}")
            yield process.pid
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def _answers(server: Server) -> bool:
    for _ in range(240):
        try:
            urllib.request.urlopen(
                f"http://127.0.0.1:{server.port}{server.ready}", timeout=5
            )
        except OSError:
            time.sleep(0.5)
        else:
            return True
    return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _memory(process: int, figure: str) -> int:
    """MiB of a process and its children: what they hold (VmRSS) or held at most."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(encoding="utf-8")
            group = os.getpgid(int(status.parent.name))
        except OSError:
            continue  # it has ended
        found = re.search(rf"{figure}:\s+(\d+) kB", text)
        if group == process and found:
            total += int(found[1])
    return total // 1024


if __name__ == "__main__":
    main()
