"""The story of a lineage or of one certificate, found by whatever a person has of it, and shown on a screen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pki.cli.output import fields, moment, print_json, table
from pki.client.rest import Client, Problem, named

REFERENCE = re.compile(r"#[0-9]+|(sha256:)?([0-9a-fA-F]{2}:?){32}")
NUMBER = re.compile(r"[0-9]{1,15}")
"""As lists have it after a #. Serial numbers are longer."""
BECAUSE = {
    "first": "it has no certificate yet",
    "names": "other names are wanted",
    "due": "by the age of its certificate",
    "suggested": "its issuer suggests it",
    "asked": "somebody asked for it",
}
LONG = ("certificate", "chain", "places", "deliveries", "renewals", "destinations", "work", "replaced", "acknowledged")
"""What has a table of its own, or is left to --json."""

OURS = ("issued", "renewed")
"""Sources of certificates that may be our own CA's, whose ledger entries are under their serial numbers."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, what the server calls it, and what the ledger says about it."""

    name: str
    row: dict[str, Any]
    history: list[dict[str, Any]]
    certificate: str
    is_lineage: bool
    current: dict[str, Any] | None = None
    """Of a lineage: its current certificate."""


def find(client: Client, what: str) -> Found:
    """A lineage of that name, else the certificate that it names. `Problem` if there is neither."""
    if Path(what).is_file():
        from pki.cli.material import identity_of

        what = identity_of(what)
    if not REFERENCE.fullmatch(what):
        is_number = NUMBER.fullmatch(what) is not None
        try:
            row = client.get(named("/lineages", what))
            if row["name"] == what or not is_number:
                return _lineage(client, row)
        except Problem as problem:
            if problem.document.get("code") != "unknown-lineage":
                raise
        what = f"#{what}" if is_number else what  # in a shell, # begins a comment
    row = client.get(named("/tracked", what))
    history = _history(client, row["identity"])
    if row["source"] in OURS:
        history = sorted([*_history(client, row["serial"]), *history], key=lambda entry: int(entry["at"]))
    return Found(row["identity"], row, history, row["certificate"] or "", is_lineage=False)


def _lineage(client: Client, row: dict[str, Any]) -> Found:
    current = None if row["current"] is None else client.get(named("/tracked", row["current"]))
    pem = (current or {}).get("certificate") or ""
    return Found(row["name"], row, _history(client, row["name"]), pem, is_lineage=True, current=current)


def _history(client: Client, subject: str) -> list[dict[str, Any]]:
    if len(subject) > 128:
        return []
    try:
        entries = client.get("/ledger/entries", subject=subject)["items"]
    except Problem:  # who may not read the ledger sees the rest of the story
        return []
    return [item["entry"] for item in entries]


def show_lineage(found: Found, *, as_json: bool) -> None:
    """A lineage: its plan, where it is brought, its renewals, its history."""
    row = found.row
    if as_json:
        print_json({**row, "history": found.history})
        return
    work = row["work"]
    troubles = {} if work is None or work["standing"] == "planned" else {"standing": work["standing"]}
    if work is not None and work["standing"] == "failing":
        troubles |= {"next attempt": work["due_at"]}
    if work is not None and work["error"]:
        troubles |= {"fails since": work["failing_since"], "error": work["error"]}
    because = {"due_because": BECAUSE.get(row["due_because"], row["due_because"])} if row["due_because"] else {}
    fields({**_short(row), **because, **_of_current(found), **troubles, "seen at": row["places"]})
    typer.echo("")
    columns = ("name", "state", "publisher", "delivered", "last_error")
    shown = [[one[column] for column in columns] for one in row["destinations"]]
    table(("destination", *columns[1:-1], "error"), shown, empty="it is brought nowhere: certwright destination add")
    typer.echo("")
    _renewals(row)
    _past(found)


def show_tracked(found: Found, *, as_json: bool) -> None:
    """One certificate: what it is, where it was seen and brought, where it comes from, its history."""
    row = found.row
    if as_json:
        print_json({**row, "history": found.history})
        return
    fields({**_short(row), **_care(row), "replaced": row["replaced"]})
    typer.echo("")
    shown = [
        [one["place"], moment(one["first_seen"]), moment(one["last_seen"]), one["is_there"]] for one in row["places"]
    ]
    table(
        ("place", "first seen", "last seen", "still there"), shown, empty="it was seen nowhere: certwright track scan"
    )
    if row["deliveries"]:
        typer.echo("")
        columns = ("destination", "outcome", "error")
        brought = [[moment(one["started_at"]), *(one[column] for column in columns)] for one in row["deliveries"]]
        table(("begun", *columns), brought, empty="")
    if row["renewals"]:
        typer.echo("")
        _renewals(row)
    _past(found)


def endpoint_table(rows: list[dict[str, Any]]) -> None:
    """Endpoints with what they show and what is wrong there."""
    columns = ("place", "findings", "ends", "shown_as", "last_seen", "last_error")
    for row in rows:
        row |= {"ends": moment(row["not_after"]), "last_seen": moment(row["last_seen"])}
    shown = [[row[column] for column in columns] for row in rows]
    table((*columns[:3], "shown as", "last seen", "error"), shown, empty="no endpoint fits: certwright track scan")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in LONG and value not in ("", None, [], False)}


def _of_current(found: Found) -> dict[str, Any]:
    """What a lineage has from its current certificate. One that we do not renew has its stage and owner from there."""
    row, current = found.row, found.current
    if current is None:
        return {}
    own = {name: row[name] or current[name] for name in ("stage", "owner")}
    return own | {name: current[name] for name in ("owner_because", "issuer", "serial")} | _care(current)


def _care(row: dict[str, Any]) -> dict[str, Any]:
    """That somebody takes care of it."""
    care = row.get("acknowledged")
    return {"taken care of": f"until {moment(care['until'])} by {care['by']}: {care['reason']}"} if care else {}


def _renewals(row: dict[str, Any]) -> None:
    columns = ("state", "reason", "issuer")
    shown = [
        [moment(one["started_at"]), *(one[column] for column in columns), moment(one["finished_at"]), one["error"]]
        for one in row["renewals"]
    ]
    table(("renewal", *columns, "finished", "error"), shown, empty="it was never renewed here")


def _past(found: Found) -> None:
    from ca import clock

    typer.echo("")
    shown = [
        [clock.from_timestamp(entry["at"]).strftime("%Y-%m-%dT%H:%MZ"), entry["action"], entry["by"]]
        for entry in found.history
    ]
    table(("at", "what happened", "by"), shown, empty="the ledger says nothing of it, or not to you")
