"""The Kedro data sets that sidiff needs and that nobody else has."""

from sidiff.datasets.folders import BundleDataset, PartitionedParquet, StoredFolder
from sidiff.datasets.previous_version import PreviousModel, PreviousVersion
from sidiff.datasets.raw_file import RawFile
from sidiff.datasets.safetensors import Model, SafetensorsDataset
from sidiff.datasets.stored import Stamp, Stored
from sidiff.datasets.streamed_parquet import StreamedParquet
from sidiff.datasets.unfinished import UnfinishedWork

__all__ = [
    "BundleDataset",
    "Model",
    "PartitionedParquet",
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
