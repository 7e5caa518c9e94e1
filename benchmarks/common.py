"""Options, paired rounds, hardware, tables and JSON of all benchmarks."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")

Contestant = Callable[[], float]
"""Does its work once and says how many seconds of it count."""

Row = dict[str, Any]
"""One line of a table: value by column."""


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Options that all benchmarks have; ``module`` is the last part of its name."""
    options = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--rounds", type=positive, default=3, help="paired rounds; medians are shown"
    )
    options.add_argument(
        "--threads", type=positive, default=1, help="CPU threads of torch"
    )
    options.add_argument("--seed", type=int, default=0, help="of everything drawn")
    options.add_argument("--json", type=Path, help="write the figures to this file")
    return options


def positive(text: str) -> int:
    """An option that is a whole number, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def timed(
    work: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> Contestant:
    """A contestant all of whose work counts, by the seconds of ``clock``."""

    def contestant() -> float:
        began = clock()
        work()
        return clock() - began

    return contestant


def paired(
    contestants: Mapping[str, Contestant], rounds: int
) -> dict[str, list[float]]:
    """Seconds of every contestant in every round.

    All take their turn in each round, so that whatever else the machine does falls on
    all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            seconds[name].append(contestant())
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median over the rounds."""
    return {name: statistics.median(times) for name, times in seconds.items()}


def speedup(
    seconds: Mapping[str, Sequence[float]], ours: str, theirs: str
) -> float | None:
    """Median over the rounds of ``theirs / ours``; None where one did not run."""
    if ours not in seconds or theirs not in seconds:
        return None
    pairs = zip(seconds[ours], seconds[theirs], strict=True)
    return statistics.median(slow / fast for fast, slow in pairs)


def peak_memory(prepare: Callable[..., Callable[[], object]], *inputs: Any) -> float:
    """MiB that work adds to the peak of a process that has prepared it.

    Args:
        prepare: a function of a module, called in a process of its own; what it
            returns is then run once.
        inputs: for ``prepare``.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_prepared_peak, prepare, inputs).result()


def _prepared_peak(
    prepare: Callable[..., Callable[[], object]], inputs: Sequence[Any]
) -> float:
    torch.set_num_threads(1)
    work = prepare(*inputs)
    before = peak_during(lambda: None)
    return peak_during(work) - before


def peak_during(work: Callable[[], object]) -> float:
    """MiB that this process holds at most while work is done."""
    # Linux forgets what the preparation needed for a moment; others do not.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    work()
    return _peak_resident()


def _peak_resident() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux a new process begins with its parent's peak.
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) / 2**10
    # Bytes on macOS, KiB elsewhere.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def hardware() -> Row:
    """The machine, and how busy it is."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),  # of the last minute, before the run
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        for line in cpus.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def installed(package: str) -> str | None:
    """Version of an installed package, None where it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def publish(
    arguments: argparse.Namespace, machine: Row, figures: Mapping[str, Any]
) -> None:
    """Print the figures, and write them where ``--json`` says.

    Args:
        arguments: the options of this run.
        machine: see ``hardware``.
        figures: a list of rows is printed as a table, anything else on a line.
    """
    settings = {name: v for name, v in vars(arguments).items() if name != "json"}
    print("  ".join(f"{name} {value}" for name, value in machine.items()))
    for name, figure in figures.items():
        if isinstance(figure, list):
            print(f"\n{name}")
            print(table(figure))
        else:
            print(f"{name}: {_cell(figure)}")
    if arguments.json:
        content = {"settings": settings, "hardware": machine, **figures}
        text = json.dumps(content, indent=2, default=str) + "\n"
        arguments.json.write_text(text, encoding="utf-8")


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned text; a column is there if any row has it."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(part)}" for name, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004
    return str(value)
