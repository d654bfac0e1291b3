"""`certwright report preview`: a letter to an owner in the terminal, or in files, before anything is sent."""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from pathlib import Path
from typing import Annotated, Any

import typer

from pki.cli.options import Json
from pki.cli.report import app

KINDS = ("digest", "daily", "urgent", "escalation")
LETTER, PAGE, TEXT = "letter.eml", "letter.html", "letter.txt"


@app.command()
def preview(
    owner: Annotated[str, typer.Argument(help="An owner's name: certwright owner list")],
    at: Annotated[
        str | None, typer.Option(help="A day, or a moment such as 2027-01-04T09:00:00Z, as if nothing were done.")
    ] = None,
    kind: Annotated[str, typer.Option(help="digest, daily, urgent or escalation")] = "digest",
    out: Annotated[
        Path | None, typer.Option(help="Write an .eml file, or into a directory the letter and each of its parts.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the letter that an owner would get. Nothing is sent, and no link in it works."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect

    if kind not in KINDS:
        raise typer.BadParameter(f"one of {', '.join(KINDS)}", param_hint="--kind")
    with connect() as client:
        found = client.get("/reports/preview", owner=owner, at=at, kind=kind)
    written = [] if out is None else write(found["message"].encode("ascii"), out)
    if json:
        print_json({**found, "files": [str(path) for path in written]})
        return
    if out is None:
        _show(found)
    for path in written:
        say(f"written: {path}")
    if found["is_empty"]:
        say("there is nothing to say: no such letter would be sent")


def write(content: bytes, out: Path) -> list[Path]:
    """Write a message to a file whose name ends in `.eml`, or itself and its parts into a directory."""
    from ca import files

    if out.suffix == ".eml":
        files.replace(out, content)
        return [out]
    out.mkdir(parents=True, exist_ok=True)
    parts = {LETTER: content} | _parts(_parsed(content))
    for name, part in parts.items():
        files.replace(out / name, part)
    return [out / name for name in parts]


def _parsed(content: bytes) -> EmailMessage:
    message = BytesParser(policy=SMTP).parsebytes(content)
    if not isinstance(message, EmailMessage):
        raise TypeError("not a message")
    return message


def _parts(message: EmailMessage) -> dict[str, bytes]:
    """Text, HTML with the pictures beside it, pictures and attachments by their file names."""
    found, places = dict[str, bytes](), dict[str, str]()
    for part in message.walk():
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        plain = {"text/plain": TEXT, "text/html": PAGE}.get(part.get_content_type())
        name = plain or re.sub(r"[^a-z0-9.-]", "-", (part.get_filename() or "part").lower())
        found[name] = content
        if part["Content-ID"]:
            places[str(part["Content-ID"]).strip("<>")] = name
    for cid, name in places.items():
        found[PAGE] = found[PAGE].replace(f"cid:{cid}".encode(), name.encode())
    return found


def _show(found: dict[str, Any]) -> None:
    """The letter as a mail program for the terminal would show it."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    from pki.cli.output import counted

    console = Console(highlight=False)
    message = _parsed(found["message"].encode("ascii"))
    head = Text()
    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        head.append(f"{name:<12}", style="bold").append(f"{message[name]}\n")
    attached = [f"{part.get_filename()} ({_size(part)})" for part in message.walk() if part.get_filename()]
    head.append(f"{'With':<12}", style="bold").append(", ".join(attached))
    title = f"{found['kind']} · {counted(found['act_now'], 'thing')} now, {found['soon']} soon"
    style = "red" if found["act_now"] else "yellow" if found["soon"] else "green"
    console.print(Panel(head, title=Text(title), border_style=style, title_align="left"))
    for line in found["text"].splitlines():
        console.print(Text(line, style=_style(line)), soft_wrap=True)


def _size(part: EmailMessage) -> str:
    content = part.get_payload(decode=True)
    size = len(content) if isinstance(content, bytes) else 0
    return f"{size / 1000:.1f} kB" if size >= 1000 else f"{size} B"


def _style(line: str) -> str:
    """A quiet colour for what frames, a loud one for what is over."""
    if re.fullmatch(r"[-=]{10,}", line):
        return "dim"
    if re.match(r" {1,3}\d+  \S", line):
        return "bold red" if re.search(r" now · |over for", line) else "bold"
    return "cyan" if re.match(r" {5}(Renew now|Answer): https", line) else ""
