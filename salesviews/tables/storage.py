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

from salesviews.tables import object_store

_SECOND_NS = 1_000_000_000
_CONNECT_TIMEOUT_S = 5.0
_REQUEST_TIMEOUT_S = 30.0


@functools.cache
def _object_store(options: tuple[tuple[str, str], ...]) -> fs.FileSystem:
    """One connection pool a store, made when it is first used: never before a fork."""
    given = dict(options)
    scheme, _, address = given.get(object_store.ENDPOINT, "").rpartition("://")
    return fs.S3FileSystem(
        access_key=given.get(object_store.KEY_ID),
        secret_key=given.get(object_store.KEY),
        region=given.get(object_store.REGION),
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
        return object_store.SCHEME + self.key

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
    if not root.startswith(object_store.SCHEME):
        return Path(root)
    return ObjectPath(root.removeprefix(object_store.SCHEME).rstrip("/"), _object_store(tuple(sorted(options.items()))))


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


def write(file: Place, content: bytes) -> None:
    """Write a file anew: readers see the old one or the new one, whole."""
    if isinstance(file, ObjectPath):
        with file.store.open_output_stream(file.key) as stream:
            stream.write(content)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    new.write_bytes(content)
    new.replace(file)


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
