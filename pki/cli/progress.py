"""Progress of long work, on standard error; nothing where that is no terminal, or where JSON was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bars(*, is_quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """One bar after the other: called with what is being done, how much of it is done, of how much."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TaskID

    console, tasks = Console(stderr=True), dict[str, TaskID]()
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    hidden = is_quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:

        def update(label: str, done: int, of: int | None) -> None:
            if label not in tasks:
                tasks[label] = progress.add_task(label, total=None)
            progress.update(tasks[label], completed=done, total=of)

        yield update


@contextmanager
def bar(label: str, *, is_quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """The same for one thing: called with how much is done, of how much."""
    with bars(is_quiet=is_quiet) as update:
        yield lambda done, of: update(label, done, of)
