"""The menu: which pages there are, in which order, and which of them a role gets to see."""

from __future__ import annotations

from dataclasses import dataclass

from ca.access import Caller, Operation


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the menu."""

    title: str
    href: str
    needs: Operation = Operation.READ_INVENTORY
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Lines that belong together."""

    title: str
    entries: tuple[Entry, ...]


MENU = (
    Group("Today", (Entry("Needs a person", "/"), Entry("Alarms", "/alarms"), Entry("Work", "/work"))),
    Group(
        "What ends",
        (Entry("Inventory", "/inventory"), Entry("Calendar", "/calendar"), Entry("Owners", "/owners")),
    ),
    Group(
        "Trust",
        (
            *(Entry("Authorities", "/authorities"), Entry("Approvals", "/approvals")),
            *(Entry("Consumers", "/consumers"), Entry("Devices", "/devices")),
        ),
    ),
    Group(
        "On record",
        (
            Entry("Letters", "/letters"),
            Entry("Monthly report", "/reports/monthly"),
            Entry("Ledger", "/ledger", Operation.READ_LEDGER),
        ),
    ),
)
ALSO_UNDER = {"/rotations": "/authorities"}
"""Pages that have no line of their own, and the line that leads to them."""


def menu(caller: Caller, path: str) -> tuple[Group, ...]:
    """What this caller may see, the line of the present page marked."""
    here = _line_of(path)
    shown = [
        Group(
            group.title,
            tuple(
                Entry(each.title, each.href, each.needs, each.href == here)
                for each in group.entries
                if caller.may(each.needs)
            ),
        )
        for group in MENU
    ]
    return tuple(group for group in shown if group.entries)


def _line_of(path: str) -> str:
    for above, line in ALSO_UNDER.items():
        if path == above or path.startswith(f"{above}/"):
            return line
    lines = [each.href for group in MENU for each in group.entries if each.href != "/"]
    return next((href for href in lines if path == href or path.startswith(f"{href}/")), "/" if path == "/" else "")
