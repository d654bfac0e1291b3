"""Answers that come line by line: a JSON object a line while something long runs, the last one its report.

What runs is in a thread of its own and ends by itself, whether or not anybody listens; of each kind one at a time.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import StreamingResponse

from ca.errors import CertwrightError, Conflict
from pki.logs import logger

NDJSON = "application/x-ndjson"
log = logger(__name__)
Line = dict[str, Any]
Say = Callable[[Line], None]


@dataclass(frozen=True, slots=True)
class Long:
    """One kind of long work: its name, and what somebody hears who asks while it runs already."""

    name: str
    busy: str
    hint: str
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, work: Callable[[Say], Line], failed: Callable[[str], Line]) -> StreamingResponse:
        """Run `work`, which may say lines and returns the report; `failed` makes one of what went wrong."""
        if not self._lock.acquire(blocking=False):
            raise Conflict(self.busy, code=f"{self.name}-running", hint=self.hint)
        said: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        run = threading.Thread(target=self._run, args=(work, failed, said), name=f"long-{self.name}", daemon=True)
        run.start()
        return StreamingResponse(_lines(said), media_type=NDJSON)

    def _run(
        self, work: Callable[[Say], Line], failed: Callable[[str], Line], said: queue.SimpleQueue[Line | None]
    ) -> None:
        try:
            said.put(work(said.put))
        except CertwrightError as error:
            said.put(failed(error.message))
        except Exception as error:  # the headers are sent: the stream has to say it
            log.error("request-failed", path=self.name, code="internal", reason=type(error).__name__, exc_info=error)
            said.put(failed(f"it failed: {type(error).__name__}"))
        finally:
            self._lock.release()
            said.put(None)


def _lines(said: queue.SimpleQueue[Line | None]) -> Iterator[str]:
    while (line := said.get()) is not None:
        yield json.dumps(line) + "\n"
