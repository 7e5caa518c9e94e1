"""An S3 server of this machine, for tests of what lies in an object store."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import s3fs
from moto.server import ThreadedMotoServer

BUCKET = "shop"


@dataclass(frozen=True)
class Store:
    """A running server with one empty bucket.

    Attributes:
        url: its address.
    """

    url: str

    @property
    def credentials(self) -> dict[str, str]:
        """As in a credentials.yml."""
        return {"key": "key", "secret": "secret", "endpoint_url": self.url}

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": self.url,
        }

    def files(self) -> Any:
        """The bucket as another process sees it, without caches."""
        return s3fs.S3FileSystem(
            **self.credentials, skip_instance_cache=True, use_listings_cache=False
        )


@contextmanager
def running_store() -> Iterator[Store]:
    """Start a server for a while."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        store = Store(f"http://{host}:{port}")
        store.files().mkdir(BUCKET)
        yield store
    finally:
        server.stop()
