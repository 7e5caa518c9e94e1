"""Metrics of the server for Prometheus, in the registry of the process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "sidiff_requests", "Requests by route and status", ("route", "status")
)
REQUEST_SECONDS = Histogram(
    "sidiff_request_seconds",
    "Seconds from request to response",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
BATCH_USERS = Histogram(
    "sidiff_batch_users",
    "Users of one pass through the network",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
WAITING_USERS = Gauge("sidiff_waiting_users", "Users whose lists are not begun")
BUNDLES_REFUSED = Counter(
    "sidiff_bundles_refused", "Newer bundles that could not be loaded"
)
BUNDLE = Gauge("sidiff_bundle", "The bundle in use", ("fingerprint",))
