"""A process that kills itself at the n-th system call by which it changes something."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

CHANGING = ("mkdir", "fchmod", "fchown", "write", "fsync", "rename", "symlink", "unlink", "rmdir")


def killed(work: Callable[[], None], step: int) -> bool:
    """Run in a child that kills itself at its `step`-th changing system call; False if it came to its end before.

    A write is killed half way.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
        return os.WIFSIGNALED(status)
    try:
        _arm(step)
        work()
    except BaseException as error:
        sys.__stderr__.write(repr(error))
        os._exit(3)
    os._exit(0)


def _arm(step: int) -> None:
    count = 0

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step_or_die(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            if name != "open" or arguments[1] & os.O_CREAT:
                count += 1
                if count == step:
                    if name == "write":
                        call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return step_or_die

    for name in (*CHANGING, "open"):
        setattr(os, name, watched(name, getattr(os, name)))
