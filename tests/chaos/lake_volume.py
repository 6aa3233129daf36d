"""A lake on a file system of its own, small, that can be made full: what a full disk does to the pipeline.

To mount it takes rights: root's, or those of a namespace of its own, for a command that begins with ``rights``.
"""

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from programs import PATIENCE_S, run_once

SIZE_BYTES = 2 * 1024**3
_SPARE_BYTES = 64 * 1024
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@cache
def rights() -> tuple[str, ...]:
    """What a command begins with that may mount; nothing where this process may.

    :raises OSError: if no command may
    """
    obstacles = []
    with tempfile.TemporaryDirectory() as folder:
        for prefix in ((), _NAMESPACE):
            tried = run_once([*prefix, "sh", "-c", f"mount -t tmpfs tmpfs {folder} && umount {folder}"], {}, PATIENCE_S)
            if tried[0] == 0:
                return prefix
            obstacles.append(tried[1].strip())
    raise OSError("; ".join(obstacles))


class LakeVolume:
    """
    :param folder: where it is mounted; an ordinary folder where that is not possible
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        mounted = self._mount("-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder))
        self.obstacle = "" if mounted.returncode == 0 else mounted.stderr.strip()
        """Why it cannot be made full; empty where it can."""

    def fill(self) -> None:
        """Leave space for next to nothing. What is written meanwhile makes this fail: try again."""
        space = os.statvfs(self._folder)
        used = (space.f_blocks - space.f_bfree) * space.f_frsize
        self._resize(used + _SPARE_BYTES)

    def empty(self) -> None:
        """There is space again."""
        self._resize(SIZE_BYTES)

    @property
    def used_bytes(self) -> int:
        space = os.statvfs(self._folder)
        return (space.f_blocks - space.f_bfree) * space.f_frsize

    def close(self) -> None:
        if not self.obstacle:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    def _resize(self, size: int) -> None:
        # Type and source are named: else it repeats all options that the mount has, some of which a namespace refuses.
        resized = self._mount("-t", "tmpfs", "-o", f"remount,size={size}", "tmpfs", str(self._folder))
        if resized.returncode:
            raise OSError(f"{self._folder} cannot have {size} bytes: {resized.stderr.strip()}")

    @staticmethod
    def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            return subprocess.CompletedProcess(arguments, 1, "", str(error))
