"""What the terminal shows. Results go to standard output, everything else to standard error.

Refusals are one line with the reason, then a hint; no capitals at the start, no full stop at the end. With `--json`
results and refusals are JSON and nothing else is printed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import typer

STATE_COLOURS = {
    "valid": "green",
    "active": "green",
    "prepared": "cyan",
    "tainted": "yellow",
    "revoked": "red",
    "distrusted": "red",
    "retired": "red",
    "open": "cyan",
    "done": "green",
    "aborted": "yellow",
    "over": "green",
    "now": "cyan",
    "paused": "yellow",
    "expired": "yellow",
    "abandoned": "yellow",
    "fine": "green",
    "due": "cyan",
    "late": "yellow",
    "urgent": "red",
    "critical": "bold red",
    "failing": "red",
    "stopped": "bold red",
    "waiting": "cyan",
    "seen": "green",
    "delivered": "green",
    "answers": "green",
    "warning": "yellow",
    "error": "red",
}
COLOURED = ("state", "stage", "severity", "standing")
EXPIRED_IN_USE = "bold red"
"""What was to be renewed has expired; `STATE_COLOURS` is about certificates that have done their time."""


def print_json(value: Any) -> None:
    """JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(_visible(text) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table without a frame; `empty` says what it means that there is nothing."""
    from rich.text import Text

    from pki.cli.table import lay_out

    shown = [[_cell(value) for value in row] for row in rows]
    if not shown:
        say(empty)
        return
    console = _console()
    # A screen has an end, a pipe has none: what `grep` and `awk` read is one line a row.
    width = console.width if console.is_terminal or "COLUMNS" in os.environ else sys.maxsize
    for number, line in enumerate(lay_out(columns, shown, width)):
        text = Text()
        for column, cell in line:
            text.append(cell, style="bold" if number == 0 else _style(column, cell.strip()))
        console.print(text, soft_wrap=True)


def fields(values: Mapping[str, object]) -> None:
    """Names and values, one a line and never folded: they are there to be copied."""
    from rich.text import Text

    console = _console()
    longest = max(map(len, values))
    for name, value in values.items():
        texts = [_cell(each) for each in value] if isinstance(value, list | tuple) else [_cell(value)]
        for number, text in enumerate(texts or [_cell(None)]):
            label = Text((name.replace("_", " ") if number == 0 else "").ljust(longest + 2), style="bold")
            console.print(label.append(text, style=_style(name, text)), soft_wrap=True)


def ask(question: str, *, yes: bool) -> None:
    """Go on only if the person says so."""
    if not yes and not typer.confirm(question, err=True):
        raise typer.Exit(1)


def refuse(problem: Mapping[str, Any], *, as_json: bool) -> NoReturn:
    """Show a problem document and end with exit code 1."""
    if as_json:
        sys.stderr.write(json.dumps(problem) + "\n")
        raise typer.Exit(1)
    reasons = [_reason(reason) for reason in problem.get("reasons") or []]
    detail = str(problem.get("detail", problem.get("title", "unknown")))
    if len(reasons) > 1:
        say(f"refused: {len(reasons)} reasons")
        for reason in reasons:
            say(f"  - {reason}")
    elif reasons and reasons[0] not in detail:
        say(f"refused: {detail}: {reasons[0]}")
    else:
        say(f"refused: {detail}")
    if problem.get("hint"):
        say(f"hint: {problem['hint']}")
    raise typer.Exit(1)


def counted(number: int, noun: str) -> str:
    """`1 certificate`, `2 certificates`, `2 entries`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"


def moment(text: str | None) -> str | None:
    """A time as tables show it: to the minute, in UTC."""
    return None if text is None else f"{text[:16]}Z"


def beside(subject: str, message: str) -> str | None:
    """What something is about, where a table says it beside a message: not again what that names, and no hash."""
    named = subject in message if " " in subject else subject in (word.strip(",;:()") for word in message.split())
    return None if named or subject.startswith("sha256:") else subject


def say_if_cut(rows: Sequence[object], limit: int) -> None:
    """Say so where a list may go on."""
    if limit and len(rows) == limit:
        say(f"these are {limit}; --limit 0 lists all")


def _console() -> Any:
    from rich.console import Console

    return Console(soft_wrap=False, highlight=False)


def _reason(reason: Mapping[str, Any]) -> str:
    rule = f" [{reason['rule']}]" if reason.get("rule") else ""
    return f"{reason['message']}{rule}"


def _style(column: str, text: str) -> str:
    if (column, text) == ("stage", "expired"):
        return EXPIRED_IN_USE
    return STATE_COLOURS.get(text, "") if column in COLOURED else ""


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value)) or "-"
    return _visible(str(value))


def _visible(text: str) -> str:
    """What strangers wrote is shown literally: it may look like markup, and hold what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
