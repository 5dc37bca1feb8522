"""What the kernel knows of a process. Linux only."""

import collections
import contextlib
import os
import pathlib


class Kernel:
    """What the kernel knows of a process."""

    def __init__(self, pid):
        self.directory = pathlib.Path(f"/proc/{pid}")

    def resident(self):
        """Memory in KiB, less the pages of its file: these come in as code is first used."""
        lines = (self.directory / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

    def ticks(self):
        """CPU time, by itself and for it."""
        after_name = (self.directory / "stat").read_text().rpartition(")")[2].split()
        return int(after_name[11]) + int(after_name[12])

    def descriptors(self):
        """What its file descriptors are, how many of each; of a socket only that it is one."""
        kinds = collections.Counter()
        for entry in (self.directory / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                kinds[os.readlink(entry).split("[")[0]] += 1
        return kinds
