"""Terminals as a reader has them: a shell in a folder, whose commands end, or serve until Ctrl-C."""

import os
import pathlib
import re
import select
import signal
import subprocess
import tempfile
import time

from harness import END, START

LINE = 150  # seconds that a block of commands may take: the guide on rotation waits


class Terminal:
    """A shell. Its variables and its folder last from one block to the next."""

    def __init__(self, folder, environment):
        self.scratch = tempfile.TemporaryDirectory()
        self.failed = pathlib.Path(self.scratch.name) / "failed"
        self.served = None  # what it is busy with
        self.log = tempfile.TemporaryFile()
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            start_new_session=True,
        )
        # Of every command that fails, its status.
        self.tell(f"trap 'echo $? >>{self.failed}' ERR")

    def tell(self, line):
        self.shell.stdin.write(line.encode() + b"\n")
        self.shell.stdin.flush()

    def paste(self, text):
        """Runs commands to their end; returns what they printed and the statuses of those that failed."""
        self.failed.write_text("")
        block = pathlib.Path(self.scratch.name) / "block"
        block.write_text(f"{text}\n:\n")  # its own status is that of no command
        self.tell(f". {block} </dev/null 2>&1; echo; echo pasted")
        printed = self.read("pasted")
        return printed, [int(status) for status in self.failed.read_text().split()]

    def read(self, last):
        out, deadline = b"", time.monotonic() + LINE
        while not re.search(rb"(?:^|\n)%s\n\Z" % last.encode(), out):
            ready, _, _ = select.select([self.shell.stdout], [], [], max(0, deadline - time.monotonic()))
            more = os.read(self.shell.stdout.fileno(), 65536) if ready else b""
            if not more:
                raise RuntimeError(f"the commands did not come to their end; they printed: {out.decode()}")
            out += more
        return out.decode(errors="replace").rpartition(last)[0]

    def serve(self, text):
        """Starts what serves; everything before the last line ends by itself."""
        *before, self.served = text.rstrip("\n").splitlines()
        failed = self.paste("\n".join(before))[1] if before else []
        # Where it writes to a file, it does; else to the log.
        self.tell(f"{{ {self.served}\n}} </dev/null 1>&2; echo ended $?")
        return failed

    def interrupt(self):
        """Ctrl-C; returns the status of what was served."""
        for child in self.children():
            os.kill(child, signal.SIGINT)
        self.served, deadline, out = None, time.monotonic() + END, ""
        while not (found := re.search(r"ended (\d+)\n", out)):
            ready, _, _ = select.select([self.shell.stdout], [], [], max(0, deadline - time.monotonic()))
            more = os.read(self.shell.stdout.fileno(), 4096) if ready else b""
            if not more:
                raise RuntimeError(f"it did not end on Ctrl-C: {self.logged()}")
            out += more.decode(errors="replace")
        return int(found[1])

    def children(self):
        of_shell = pathlib.Path(f"/proc/{self.shell.pid}/task/{self.shell.pid}/children")
        return [int(pid) for pid in of_shell.read_text().split()]

    def logged(self, last=4000):
        """The end of what was written there, in bytes."""
        self.log.seek(0)
        return self.log.read()[-last if last else 0 :].decode(errors="replace")

    def close(self):
        """Closes it, and ends whatever still runs in it."""
        if self.served:
            for child in self.children():
                os.kill(child, signal.SIGTERM)
            self.shell.stdin.close()
        else:
            os.killpg(self.shell.pid, signal.SIGTERM)  # a session of its own: nothing but ours is in it
        try:
            self.shell.wait(START)
        except subprocess.TimeoutExpired:
            os.killpg(self.shell.pid, signal.SIGKILL)
            self.shell.wait()
        self.shell.stdout.close()
        self.scratch.cleanup()
