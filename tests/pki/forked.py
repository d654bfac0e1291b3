"""The command as a process of its own, forked from one that has its imports behind it: those take most of a start.

What is forked is reparented to us, so that it is waited for, signalled and killed as what `subprocess` starts. Tests of
how long a start takes, and of what an installed program loads, start it from nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO

PR_SET_CHILD_SUBREAPER = 36
FORKS = """
import gc, json, os, sys, traceback
import rich.progress, rich.prompt, rich.table, typer.main
import pki.cli.app, pki.client.rest, pki.demo.story, pki.product, pki.web.app, pki.web.server
from ca.store.migrate import newest_revision
from pki.cli import main

def run(job):
    for number, path in enumerate(job["files"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), number)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.stdin, sys.argv = open(0, closefd=False), ["certwright", *job["argv"]]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

# Worked out once; each command has them for itself, as a copy of this process.
routes, commands = pki.web.app.routed(), typer.main.get_command(pki.cli.app.app)
commands.make_all()
pki.web.app.routed, typer.main.get_command = lambda: routes, lambda _app: commands
newest_revision()
gc.freeze()
print("ready", flush=True)
for line in sys.stdin:
    heard, said = os.pipe()
    between = os.fork()
    if between == 0:
        child = os.fork()
        if child == 0:
            code = run(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        os.write(said, b"%d" % child)
        os._exit(0)
    os.waitpid(between, 0)  # only now it has another parent
    print(os.read(heard, 20).decode(), flush=True)
    os.close(heard)
    os.close(said)
"""


class Forked(subprocess.Popen[bytes]):
    """A process that was forked for us; what `Popen` does with a process id works on it."""

    def __init__(self, pid: int, argv: Sequence[str]) -> None:
        self.pid, self.args, self.returncode = pid, argv, None
        self.stdin = self.stdout = self.stderr = None
        self._waitpid_lock = threading.Lock()
        self._child_created = True
        self._sigint_wait_secs = 0.0
        self._communication_started = False


class Forks:
    """The process that others are forked from."""

    def __init__(self) -> None:
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no reaper of processes that lose their parent")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS], stdin=pipe, stdout=pipe, text=True, start_new_session=True
        )
        assert self._answer() == "ready"

    def start(self, argv: Sequence[str], files: Sequence[Path], env: dict[str, str], cwd: Path) -> Forked:
        """Run `certwright ARGV`, its standard files in these, which exist."""
        assert self._process.stdin is not None
        job = {"argv": [*argv], "env": env, "cwd": str(cwd), "files": [str(file.absolute()) for file in files]}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return Forked(int(self._answer()), argv)

    def close(self) -> None:
        """End it, and what was forked from it and somebody has forgotten."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        with self._process:
            self._process.wait(60)

    def _answer(self) -> str:
        out: IO[str] | None = self._process.stdout
        assert out is not None
        return out.readline().strip()


@cache
def forks() -> Forks:
    """The one of this process; `conftest.py` ends it."""
    return Forks()


def ended(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Its exit code; what has not ended by then is killed."""
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > deadline:
            os.kill(process.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(process.args, seconds)
        time.sleep(0.005)
    return int(process.returncode)
