"""Runs the command that makes a program read its files again: without a shell, with an end, its words capped.

The command is a list of arguments from the settings and is never made out of anything else. It gets no environment of
ours and no input. Nothing of a certificate or a key is passed to it.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ca.errors import NotDelivered

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
MOST_OUTPUT = 1 << 20
"""What writes more than this is stopped."""
MOST_SHOWN = 300
STEP = 0.05


def run(argv: Sequence[str], timeout: float) -> None:
    """Run it to its end. `NotDelivered` if it cannot be started, fails, or is not done in `timeout` seconds.

    It gets a session of its own, so that what it started ends with it when the time is up. Its output goes to a file
    and not to a pipe: what it leaves running in the background neither holds us up nor dies of our going on.
    """
    _refuse_foreign(argv[0])
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - an administrator's own list of arguments
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise NotDelivered(f"{argv[0]} cannot be run: {error.strerror or error}") from None
        code = _wait(process, output, timeout)
        if code is None:
            raise NotDelivered(f"{argv[0]} was stopped after {timeout:g} s{_shown(output)}", code="reload-hangs")
        if code:
            ended = f"ended with {code}" if code > 0 else f"was ended by signal {-code}"
            raise NotDelivered(f"{argv[0]} {ended}{_shown(output)}", code="reload-failed")


def _wait(process: subprocess.Popen[bytes], output: IO[bytes], timeout: float) -> int | None:
    """Its exit code; None if it had to be stopped."""
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline and os.fstat(output.fileno()).st_size <= MOST_OUTPUT:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(STEP)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None


def _shown(output: IO[bytes]) -> str:
    """The end of what it said, made harmless."""
    size = os.fstat(output.fileno()).st_size
    output.seek(max(size - 4 * MOST_SHOWN, 0))
    text = output.read(4 * MOST_SHOWN).decode(errors="replace")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())[-MOST_SHOWN:]
    return f": {line}" if line else ""


def _refuse_foreign(program: str) -> None:
    try:
        found = Path(program).stat()
    except OSError as error:
        raise NotDelivered(f"{program} cannot be run: {error.strerror}") from None
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotDelivered(f"others may write {program}, which would run as us", hint=f"chmod go-w {program}")
