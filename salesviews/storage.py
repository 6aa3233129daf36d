"""Where the files of a lake are: in folders of this machine, or under a prefix of an object store.

Files in folders are ``pathlib.Path``; ``ObjectPath`` has as much of it as the lake's files need, with the same names
and the same errors. An object store has no folders, no renaming, and times in whole seconds.

Delta itself reads and writes both by their addresses; what is here is for what is done to files as files.
"""

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

SCHEME = "s3://"

_ENDPOINT = "AWS_ENDPOINT_URL"
_REGION = "AWS_REGION"
_KEY_ID = "AWS_ACCESS_KEY_ID"
_KEY = "AWS_SECRET_ACCESS_KEY"
_SECOND_NS = 1_000_000_000
_CONNECT_TIMEOUT_S = 5.0
_REQUEST_TIMEOUT_S = 30.0


def object_store_options(endpoint: str, region: str, key_id: str, key: str) -> dict[str, str]:
    """What Delta takes to reach an S3-compatible store; what is empty is left to the machine's own credentials.

    A commit is a put that fails where the object exists: two writers cannot both write a version.
    """
    given = {_ENDPOINT: endpoint, _REGION: region, _KEY_ID: key_id, _KEY: key}
    options = {name: value for name, value in given.items() if value}
    return options | {"aws_conditional_put": "etag", "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower()}


@functools.cache
def _object_store(options: tuple[tuple[str, str], ...]) -> fs.FileSystem:
    """One connection pool a store, made when it is first used: never before a fork."""
    given = dict(options)
    scheme, _, address = given.get(_ENDPOINT, "").rpartition("://")
    return fs.S3FileSystem(
        access_key=given.get(_KEY_ID),
        secret_key=given.get(_KEY),
        region=given.get(_REGION),
        scheme=scheme or "https",
        endpoint_override=address or None,
        connect_timeout=_CONNECT_TIMEOUT_S,
        request_timeout=_REQUEST_TIMEOUT_S,
    )


@dataclass(frozen=True, order=True)
class ObjectPath:
    """An object, or the prefix of many.

    :param key: bucket and key, without a slash at the end
    """

    key: str
    store: fs.FileSystem = field(repr=False, compare=False)

    def __str__(self) -> str:
        return SCHEME + self.key

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(f"{self.key}/{name}", self.store)

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    def exists(self) -> bool:
        """Whether there is such an object."""
        return bool(self.store.get_file_info(self.key).type == fs.FileType.File)

    def open(self) -> pa.NativeFile:
        """For random access."""
        return self.store.open_input_file(self.key)

    def read_bytes(self) -> bytes:
        with self.store.open_input_stream(self.key) as stream:
            return bytes(stream.read())


Place = Path | ObjectPath
"""A file or folder of a lake."""


@dataclass(frozen=True)
class File:
    """What a listing says of a file.

    :param path: under the folder that was listed
    """

    path: str
    bytes: int
    written_s: float


def place(root: str, options: Mapping[str, str]) -> Place:
    """:param root: a folder's path, or ``s3://bucket/prefix``"""
    if not root.startswith(SCHEME):
        return Path(root)
    return ObjectPath(root.removeprefix(SCHEME).rstrip("/"), _object_store(tuple(sorted(options.items()))))


def is_folder(of: Place) -> bool:
    """A place on this machine, where a look costs nothing."""
    return isinstance(of, Path)


def file_system(of: Place) -> tuple[fs.FileSystem, str]:
    """A place as Arrow takes it: the file system, and the path in it."""
    return (of.store, of.key) if isinstance(of, ObjectPath) else (fs.LocalFileSystem(), str(of))


def source(file: Place) -> Any:
    """A file as Parquet readers take it."""
    return file.open() if isinstance(file, ObjectPath) else file


def names(folder: Place) -> list[str]:
    """The names of what is in a folder, and not in one below it; none where there is no such folder."""
    if isinstance(folder, ObjectPath):
        selector = fs.FileSelector(folder.key, allow_not_found=True)
        return [info.base_name for info in folder.store.get_file_info(selector)]
    try:
        return os.listdir(folder)  # noqa: PTH208 - a thousand paths would take ten times as long as their names
    except FileNotFoundError:
        return []


def make_folder(folder: Place) -> None:
    """Where there are folders; a prefix needs no making."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)


def delete(file: Place) -> None:
    """Delete a file; one that is gone is none the worse."""
    if isinstance(file, Path):
        file.unlink(missing_ok=True)
    elif file.exists():  # Arrow would make sure that there is one, and fail
        file.store.delete_file(file.key)


def move(file: Place, to: Place) -> None:
    """Give a file another path; in an object store it is copied first, and a crash in between leaves both."""
    if isinstance(file, Path) and isinstance(to, Path):
        to.parent.mkdir(parents=True, exist_ok=True)
        file.rename(to)
    elif isinstance(file, ObjectPath) and isinstance(to, ObjectPath):
        file.store.copy_file(file.key, to.key)
        delete(file)
    else:
        raise TypeError(f"{file} and {to} are not in the same storage")


def written_ns(file: Place) -> int:
    """When a file was written, at the latest.

    :raises FileNotFoundError: if it is gone
    """
    if isinstance(file, ObjectPath):
        info = file.store.get_file_info(file.key)
        if info.type != fs.FileType.File:
            raise FileNotFoundError(f"There is no {file}.")
        return int(info.mtime_ns) // _SECOND_NS * _SECOND_NS + _SECOND_NS - 1
    return file.stat().st_mtime_ns


def data_files(folder: Place) -> Iterator[File]:
    """The files of a table, in order of their paths; not what is no business of Delta's by its name: its log, say."""
    if isinstance(folder, ObjectPath):
        selector = fs.FileSelector(folder.key, allow_not_found=True, recursive=True)
        for info in sorted(folder.store.get_file_info(selector), key=lambda info: info.path):
            path = info.path.removeprefix(f"{folder.key}/")
            if info.type == fs.FileType.File and not any(map(_is_hidden, path.split("/"))):
                yield File(path, info.size, info.mtime_ns / _SECOND_NS)
    else:
        yield from _files_in(folder, "")


def _files_in(folder: Path, under: str) -> Iterator[File]:
    with os.scandir(folder / under) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if _is_hidden(entry.name):
            continue
        path = f"{under}{entry.name}"
        if entry.is_dir():
            yield from _files_in(folder, f"{path}/")
            continue
        try:
            status = entry.stat()
        except FileNotFoundError:  # deleted a moment ago
            continue
        yield File(path, status.st_size, status.st_mtime)


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))
