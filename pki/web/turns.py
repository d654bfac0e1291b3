"""Whose turn it is: a bounded queue that is fair between identities, and lets what ends soon go first.

Identities take turns, whatever number of requests each has waiting. Before all of them go those that would be too late:
each identity's one request whose deadline is near, the nearest first. When the queue is full, whoever has the most
waiting gives way, with the newest of it; a newcomer that would be that one is turned away itself.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


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
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def join(self, one: Waiting[T]) -> Waiting[T] | None:
        """Let one wait. Returns who has to leave for it, which may be itself; None if there was room."""
        leaves = None
        if self._count >= self.most:
            longest = max(self._lines, key=lambda name: len(self._lines[name]), default=None)
            most = 0 if longest is None else len(self._lines[longest])
            if longest is None or len(self._lines.get(one.identity, ())) + 1 >= most:
                return one
            leaves = self._lines[longest][-1]
            self.leave(leaves)
        if one.deadline is not None and one.identity not in self._urgent:
            self._urgent[one.identity] = one
        else:
            self._lines.setdefault(one.identity, deque()).append(one)
        self._count += 1
        return leaves

    def next(self) -> Waiting[T] | None:
        """Take out whose turn it is; None if nobody waits."""
        if self._urgent:
            first = min(self._urgent.values(), key=lambda one: one.deadline or 0)
            del self._urgent[first.identity]
        elif self._lines:
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
