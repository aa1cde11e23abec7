"""Reads an offline W&B run back from its folder, as `wandb sync` would."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

FILE_HEADER = 7
BLOCK = 32 * 1024
CHUNK_HEADER = 7
WHOLE, LAST = 1, 4


@dataclass
class OfflineRun:
    """What an offline run holds: rows of the history in order, config, summary, and the media files it lists.

    `steps` maps each metric that was defined by its name to the one it is drawn against.
    """

    folder: Path
    id: str = ""
    name: str = ""
    project: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    media: list[Path] = field(default_factory=list)
    steps: dict[str, str] = field(default_factory=dict)

    def column(self, key: str) -> list[Any]:
        """The values that the metric `key` took, in order."""
        return [row[key] for row in self.history if key in row]


def read_offline_runs(save_dir: Path) -> list[OfflineRun]:
    """All offline runs in the folder that a logger was given, oldest first."""
    return [_read(path) for path in sorted(save_dir.glob("wandb/offline-run-*/run-*.wandb"))]


def _read(path: Path) -> OfflineRun:
    run = OfflineRun(path.parent)
    for record in map(Record.FromString, _records(path.read_bytes())):
        match record.WhichOneof("record_type"):
            case "run":
                run.id, run.name, run.project = record.run.run_id, record.run.display_name, record.run.project
                run.group, run.tags = record.run.run_group, list(record.run.tags)
                run.config |= _values(record.run.config.update)
            case "config":
                run.config |= _values(record.config.update)
            case "history":
                run.history.append(_values(record.history.item))
            case "summary":
                run.summary |= _values(record.summary.update)
            case "metric":
                run.steps[record.metric.name] = record.metric.step_metric
            case "files":
                run.media += [path.parent / "files" / item.path for item in record.files.files if "media" in item.path]
    return run


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log: chunks, each with checksum (4), length (2) and kind (1), in blocks of 32 KiB."""
    position, record = FILE_HEADER, b""
    while position + CHUNK_HEADER <= len(content):
        if BLOCK - position % BLOCK < CHUNK_HEADER:
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        position += CHUNK_HEADER
        record += content[position : position + length]
        position += length
        if kind in (WHOLE, LAST):
            yield record
            record = b""
