"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
USERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Monitoring:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sidiff_requests",
            "Requests by route and status",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "sidiff_request_seconds",
            "From the first byte to the last",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._users = Histogram(
            "sidiff_batch_users",
            "Users of one pass through the network",
            buckets=USERS,
            registry=self._registry,
        )
        self._refused = Counter(
            "sidiff_bundles_refused",
            "Newer bundles that could not be loaded",
            registry=self._registry,
        )
        self._waiting = Gauge(
            "sidiff_waiting_users",
            "Users whose lists are not begun",
            registry=self._registry,
        )
        self._loaded = Gauge(
            "sidiff_bundle",
            "The bundle in use",
            ("fingerprint",),
            registry=self._registry,
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def ranked(self, users: int) -> None:
        """Count a pass through the network."""
        self._users.observe(users)

    def refused(self) -> None:
        """Count a bundle that could not be loaded."""
        self._refused.inc()

    def waiting(self, users: Callable[[], int]) -> None:
        """Say who knows how many users wait."""
        self._waiting.set_function(users)

    def page(self, bundle: str) -> bytes:
        """All of it, in the text format of Prometheus."""
        self._loaded.clear()
        self._loaded.labels(bundle).set(1)
        return generate_latest(self._registry)
