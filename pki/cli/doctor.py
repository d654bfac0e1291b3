"""`certwright doctor`: looks at the installation on this machine and says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from pki.cli.options import Json


def doctor(json: Json = False) -> None:
    """Look at all that may be wrong, and say what to do. Exit code 1 if something is.

    Keys, permissions, expiry, clock, disk, database, CRLs as published and as strangers get them, listeners, the
    schedule, backups. An installation that does not open is looked at, too.
    """
    from pki.cli.output import print_json, say, table
    from pki.client.where import answers, where
    from pki.settings import state_directory

    state = where.state or state_directory()
    is_open = where.server is not None or answers(state / "certwright.sock")
    found = _asked() if is_open else _alone(state)
    if json:
        print_json({"findings": found})
    else:
        rows = [(each["level"], each["check"], each["message"]) for each in found]
        table(("level", "check", "what was found"), rows, empty="nothing was looked at")
        for each in found:
            if each["advice"]:
                say(f"{each['check']}: {each['advice']}")
    if any(each["level"] == "problem" for each in found):
        raise typer.Exit(1)


def _asked() -> list[dict[str, Any]]:
    """As the running server sees itself."""
    from pki.client.rest import connect

    with connect() as client:
        return list(client.get("/doctor")["findings"])


def _alone(state: Path) -> list[dict[str, Any]]:
    """No server runs: what may keep it from being opened comes first, and is all if it does. Nothing due is done."""
    from dataclasses import asdict

    from ca.errors import CertwrightError
    from pki.doctor.checks import examine
    from pki.doctor.opening import is_openable, preliminary, refused
    from pki.logs import configure_logs
    from pki.product import Product

    configure_logs("error")
    found = preliminary(state)
    if is_openable(found):
        try:
            with Product.open(state) as product:
                found = examine(product)
        except (CertwrightError, OSError) as error:
            found.append(refused(error))
    return [asdict(each) for each in found]
