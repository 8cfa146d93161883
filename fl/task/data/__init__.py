"""The data of a task: where rows come from, how they are encoded, and how they are dealt to clients."""

from fl.task.data.config import DataConfig, PartitionConfig
from fl.task.data.dataset import Dataset, Federation, Shard
from fl.task.data.errors import DataError
from fl.task.data.federation import load_federation
from fl.task.data.file_style import FileStyle
from fl.task.data.fit import fit_schema
from fl.task.data.reading import DataReading
from fl.task.data.schema import CategoricalColumn, NumericColumn, TableSchema
from fl.task.data.shard import read_image_shard, read_shard, survey_shard
from fl.task.data.shard_files import ShardFiles, write_shards
from fl.task.data.text import TextSchema, TextShard, is_text_schema, read_text_shard, text_schema

__all__ = [
    "CategoricalColumn",
    "DataConfig",
    "DataError",
    "DataReading",
    "Dataset",
    "Federation",
    "FileStyle",
    "NumericColumn",
    "PartitionConfig",
    "Shard",
    "ShardFiles",
    "TableSchema",
    "TextSchema",
    "TextShard",
    "fit_schema",
    "is_text_schema",
    "load_federation",
    "read_image_shard",
    "read_shard",
    "read_text_shard",
    "survey_shard",
    "text_schema",
    "write_shards",
]
