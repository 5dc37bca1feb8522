"""What the kernel knows of a program: its CPU time and its memory, those of its children with it. Linux only."""

import contextlib
import os
import pathlib

TICK = 1e9 / os.sysconf("SC_CLK_TCK")


class Program:
    """A process and whatever it has started: nginx is two."""

    def __init__(self, pid):
        self.pids = family(pid)

    def cpu(self):
        """Nanoseconds on a CPU by thread, user and system; what interrupts cost while they ran is in it."""
        return {task: time for pid in self.pids for task, time in threads(pid)}

    def resident(self):
        """KiB in memory, the pages of its files among them."""
        return sum(status(pid, "VmRSS") for pid in self.pids)


def spent(before, after):
    """Nanoseconds between two readings, those of threads that are still there."""
    return sum(time - before.get(task, 0) for task, time in after.items())


def threads(pid):
    """Each thread's CPU time: in nanoseconds where the kernel counts them, else in ticks of 10 ms."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield task, on_cpu(task)


def on_cpu(task):
    if COUNTS_NANOSECONDS:
        return int((task / "schedstat").read_text().split()[0])
    after_name = (task / "stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) * TICK


def counts_nanoseconds():
    try:
        return int(pathlib.Path("/proc/self/schedstat").read_text().split()[0]) > 0
    except OSError:
        return False


COUNTS_NANOSECONDS = counts_nanoseconds()


def family(pid):
    """The process and those below it."""
    children = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def status(pid, name):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
