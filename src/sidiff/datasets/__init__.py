"""Kedro data sets of sidiff: atomic, stamped and checked versions."""

from sidiff.datasets.folders import BundleDataset, PartitionedParquet, StoredFolder
from sidiff.datasets.optional import (
    Previous,
    PreviousModel,
    PreviousVersion,
    UnfinishedWork,
)
from sidiff.datasets.raw_file import RawFile
from sidiff.datasets.safetensors import Model, SafetensorsDataset
from sidiff.datasets.stored import Stamp, Stored
from sidiff.datasets.streamed_parquet import StreamedParquet

__all__ = [
    "BundleDataset",
    "Model",
    "PartitionedParquet",
    "Previous",
    "PreviousModel",
    "PreviousVersion",
    "RawFile",
    "SafetensorsDataset",
    "Stamp",
    "Stored",
    "StoredFolder",
    "StreamedParquet",
    "UnfinishedWork",
]
