"""Requests to a served bundle: how long they take, how many there are in a second.

Servers are processes of their own: ``sidiff serve``, and with ``--model`` the same
bundle behind ``mlflow models serve``. The load is wrk's (Debian package wrk), a public
tool in C: so many clients that each send the next request when the last is answered,
one user a request, histories drawn from the bundle's items. Every server answers all
loads of a round, then the next one does.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.common import Row, hardware, parser, positive, publish
from sidiff.errors import SidiffError
from sidiff.serving import Bundle
from sidiff.serving.bundle import find_bundle

BODIES = 200
LUA = """
local bodies = BODIES
local headers = {["Content-Type"] = "application/json"}
local next = 0
request = function()
  next = next % #bodies + 1
  return wrk.format("POST", "PATH", headers, bodies[next])
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
    histories = _histories(bundle.items["item_id"].to_list())
    rows = [
        row
        for _ in range(settings.rounds)
        for row in _measured(settings.bundle, settings.model, histories, settings)
    ]
    figures = {"items": len(bundle.items), "serving": rows}
    publish(settings, machine, figures)


def _histories(ids: list[str]) -> list[list[str]]:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 31, BODIES)
    return [[ids[i] for i in random.integers(0, len(ids), size)] for size in sizes]


def _measured(
    bundle: str,
    model: str | None,
    histories: list[list[str]],
    settings: argparse.Namespace,
) -> Iterator[Row]:
    clients, seconds = settings.clients, settings.seconds
    port = _free_port()
    command = [sys.executable, "-m", "sidiff", "serve", bundle, "--port", str(port)]
    bodies = [{"histories": [items]} for items in histories]
    with _server(command, port, "/health") as process:
        yield from _loads(
            "sidiff", process, port, "/recommendations", bodies, clients, seconds
        )
    if model is None:
        return
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model]
    command += ["--env-manager", "local", "--port", str(port)]
    records = [{"dataframe_records": [{"items": items}]} for items in histories]
    with _server(command, port, "/ping") as process:
        yield from _loads(
            "mlflow", process, port, "/invocations", records, clients, seconds
        )


def _loads(
    name: str,
    process: int,
    port: int,
    path: str,
    bodies: Sequence[object],
    clients: Sequence[int],
    seconds: int,
) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        texts = ", ".join(f"[==[{json.dumps(body)}]==]" for body in bodies)
        lua = LUA.replace("BODIES", f"{{{texts}}}").replace("PATH", path)
        script.write_text(lua, encoding="utf-8")
        for count in clients:
            _load(port, script, count, 1)  # kernels of oneDNN are made once
            before = _resident(process)
            found = _load(port, script, count, seconds)
            requests, errors, took, p50, p95, p99 = map(float, found)
            yield {
                "server": name,
                "clients": count,
                "requests": int(requests),
                "errors": int(errors),
                "users_per_second": requests / took,
                "p50_ms": p50,
                "p95_ms": p95,
                "p99_ms": p99,
                "mib_before": before,
                "mib_after": _resident(process),
            }


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
def _server(command: Sequence[str], port: int, path: str) -> Iterator[int]:
    """Run a server for a while; gives its process."""
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(places)}
    process = subprocess.Popen(  # noqa: S603 (a command of this file)
        command,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield process.pid
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _resident(process: int) -> int:
    """MiB of a process and its children."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(encoding="utf-8")
            group = os.getpgid(int(status.parent.name))
        except OSError:
            continue  # it has ended
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        if group == process and found:
            total += int(found[1])
    return total // 1024


if __name__ == "__main__":
    main()
