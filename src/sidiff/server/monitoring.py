"""Metrics for Prometheus."""

from __future__ import annotations

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
    """Counters of one server.

    Attributes:
        requests: by route and status.
        seconds: a request took, by route.
        users: of each pass through the network.
        refused: bundles that could not be loaded.
        waiting: users whose lists are not begun.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "sidiff_requests",
            "Requests by route and status",
            ("route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "sidiff_request_seconds",
            "From the first byte to the last",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.users = Histogram(
            "sidiff_batch_users",
            "Users of one pass through the network",
            buckets=USERS,
            registry=registry,
        )
        self.refused = Counter(
            "sidiff_bundles_refused",
            "Newer bundles that could not be loaded",
            registry=registry,
        )
        self.waiting = Gauge(
            "sidiff_waiting_users",
            "Users whose lists are not begun",
            registry=registry,
        )
        self._loaded = Gauge(
            "sidiff_bundle", "The bundle in use", ("fingerprint",), registry=registry
        )

    def page(self, bundle: str) -> bytes:
        """All of it, in the text format of Prometheus."""
        self._loaded.clear()
        self._loaded.labels(bundle).set(1)
        return generate_latest(self._registry)
