"""Whose turn it is: a bounded queue that is fair between identities, and lets what ends soon go first.

Identities take turns, whatever number of requests each has waiting. Before them go those that would be too late, the
nearest first: one request of each identity, and no second while it is remembered, or one that asks again and again
would live off its deadline. After `IN_A_ROW` of them one of the others is let in, so that nobody waits for ever. When
the queue is full, whoever has the most waiting gives way, with the newest of it; a newcomer that would be that one is
turned away itself, unless it would be too late.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
IN_A_ROW = 3
"""How many with a deadline go before one of the others."""
REMEMBERED = 100_000
"""Identities that have had their turn by deadline. A certificate is one identity, and is renewed once."""


@dataclass(eq=False)
class Waiting(Generic[T]):
    """One that waits; `deadline` is in seconds since the epoch, None where nothing is lost by waiting."""

    identity: str
    item: T
    deadline: int | None = None


@dataclass
class Turns(Generic[T]):
    """At most `most` wait. Nothing here knows about time or tasks; every step is as quick as there are identities."""

    most: int
    _urgent: dict[str, Waiting[T]] = field(default_factory=dict)
    _lines: OrderedDict[str, deque[Waiting[T]]] = field(default_factory=OrderedDict)
    _had: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _row: int = 0
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def join(self, one: Waiting[T]) -> Waiting[T] | None:
        """Let one wait. Returns who has to leave for it, which may be itself; None if there was room."""
        is_urgent = one.deadline is not None and one.identity not in self._urgent and one.identity not in self._had
        leaves = None
        if self._count >= self.most:
            longest = max(self._lines, key=lambda name: len(self._lines[name]), default=None)
            if longest is None:
                return one
            if not is_urgent and len(self._lines.get(one.identity, ())) + 1 >= len(self._lines[longest]):
                return one
            leaves = self._lines[longest][-1]
            self.leave(leaves)
        if is_urgent:
            self._urgent[one.identity] = one
        else:
            self._lines.setdefault(one.identity, deque()).append(one)
        self._count += 1
        return leaves

    def next(self) -> Waiting[T] | None:
        """Take out whose turn it is; None if nobody waits."""
        if self._urgent and (self._row < IN_A_ROW or not self._lines):
            first = min(self._urgent.values(), key=lambda one: one.deadline or 0)
            del self._urgent[first.identity]
            self._row += 1
            self._had[first.identity] = None
            if len(self._had) > REMEMBERED:
                self._had.popitem(last=False)
        elif self._lines:
            self._row = 0
            name, line = self._lines.popitem(last=False)
            first = line.popleft()
            if line:
                self._lines[name] = line  # behind all others
        else:
            return None
        self._count -= 1
        return first

    def leave(self, one: Waiting[T]) -> bool:
        """Take one out that waits no more; whether it was there."""
        if self._urgent.get(one.identity) is one:
            del self._urgent[one.identity]
        else:
            line = self._lines.get(one.identity)
            if line is None or one not in line:
                return False
            line.remove(one)
            if not line:
                del self._lines[one.identity]
        self._count -= 1
        return True
