"""What the terminal shows. Results go to standard output, everything else to standard error.

Refusals are one line with the reason, then a hint; no capitals at the start, no full stop at the end. With `--json`
results and refusals are JSON and nothing else is printed.
"""

from __future__ import annotations

import json
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
    "retired": "red",
    "expired": "yellow",
    "abandoned": "yellow",
}


def print_json(value: Any) -> None:
    """JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(text + "\n")


def console() -> Any:
    """Rich's console on standard output."""
    from rich.console import Console

    return Console(soft_wrap=False, highlight=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table without a frame; `empty` says what it means that there is nothing."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = [[_cell(column, value) for column, value in zip(columns, row, strict=True)] for row in rows]
    if not shown:
        say(empty)
        return
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(Text(column), overflow="fold", no_wrap=column in ("serial", "name", "state"))
    for row in shown:
        grid.add_row(*row)
    console().print(grid)


def fields(values: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in values.items():
        grid.add_row(Text(name.replace("_", " "), style="bold"), _cell(name, value))
    console().print(grid)


def ask(question: str, *, yes: bool) -> None:
    """Go on only if the person says so."""
    if not yes and not typer.confirm(question, err=True):
        raise typer.Exit(1)


def refuse(problem: Mapping[str, Any], *, as_json: bool) -> NoReturn:
    """Show a problem document and end with exit code 1."""
    if as_json:
        sys.stderr.write(json.dumps(problem) + "\n")
        raise typer.Exit(1)
    reasons = problem.get("reasons") or []
    if len(reasons) > 1:
        say(f"refused: {len(reasons)} reasons")
        for reason in reasons:
            rule = f" [{reason['rule']}]" if reason.get("rule") else ""
            say(f"  - {reason['message']}{rule}")
    else:
        say(f"refused: {problem.get('detail', problem.get('title', 'unknown'))}")
    if problem.get("hint"):
        say(f"hint: {problem['hint']}")
    raise typer.Exit(1)


def _cell(column: str, value: object) -> Any:
    """Text is shown literally: names come from strangers and may look like markup."""
    from rich.text import Text

    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, list | tuple):
        return Text("\n".join(map(str, value)) or "-")
    style = STATE_COLOURS.get(str(value), "") if column == "state" else ""
    return Text(str(value), style=style)
