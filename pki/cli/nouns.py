"""The nouns of the command line: which modules have their verbs, and where `--help` lists them.

A noun's commands are made when it is asked for: those of all of them would take longer than most commands do.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from pki.cli import (
    alarm,
    anchor,
    answer,
    approval,
    backup,
    bundle,
    bundle_follow,
    bundle_streams,
    ca,
    ca_cross,
    ca_external,
    ca_offline,
    ca_sizes,
    ceremony,
    cert,
    cert_revoking,
    consumer,
    consumer_plan,
    destination,
    event,
    identity,
    issuer,
    key,
    ledger,
    ledger_at,
    mirror,
    monitor,
    owner,
    profile,
    profile_diff,
    prove,
    renew,
    replace,
    report,
    report_bounce,
    report_letters,
    report_monthly,
    report_preview,
    rotate,
    rotation,
    token,
    track,
    track_find,
    track_plan,
)


@dataclass(frozen=True, slots=True)
class Noun:
    """Where help lists it, and the application that its verbs were added to."""

    panel: str
    app: typer.Typer


def _noun(panel: str, first: ModuleType, *_more: ModuleType) -> Noun:
    """Of these modules the first one has the noun's application; each of them adds its verbs to that."""
    return Noun(panel, first.app)


CA, INVENTORY, TRUST, NEWS = "The CA", "What ends, and is renewed", "Who must trust it", "What happens"
NOUNS = {
    "ca": _noun(CA, ca, rotate, ca_external, ca_sizes, ca_cross, ca_offline),
    "ceremony": _noun(CA, ceremony),
    "approval": _noun(CA, approval),
    "rotation": _noun(CA, rotation),
    "profile": _noun(CA, profile, profile_diff),
    "cert": _noun(CA, cert, cert_revoking),
    "key": _noun(CA, key),
    "token": _noun(CA, token),
    "identity": _noun(CA, identity),
    "ledger": _noun(CA, ledger, ledger_at, prove, mirror, monitor),
    "track": _noun(INVENTORY, track, track_plan, track_find, answer),
    "renew": _noun(INVENTORY, renew),
    "destination": _noun(INVENTORY, destination),
    "replace": _noun(INVENTORY, replace),
    "owner": _noun(INVENTORY, owner, answer),
    "report": _noun(INVENTORY, report, report_preview, report_letters, report_monthly, report_bounce),
    "issuer": _noun(INVENTORY, issuer),
    "consumer": _noun(TRUST, consumer, consumer_plan),
    "bundle": _noun(TRUST, bundle, bundle_streams, bundle_follow),
    "anchor": _noun(TRUST, anchor),
    "backup": _noun(CA, backup),
    "alarm": _noun(NEWS, alarm),
    "event": _noun(NEWS, event),
}


class Nouns(TyperGroup):
    """The command's group: it has the commands that need no noun, and makes the others' as they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All of them, as help lists them."""
        self.make_all()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of them; what is asked for and not there is held against all, for what may have been meant."""
        if cmd_name in NOUNS:
            self._make(cmd_name)
        elif cmd_name not in self.commands:
            self.make_all()
        return super().get_command(ctx, cmd_name)

    def make_all(self) -> None:
        """Make the commands of every noun."""
        for name in NOUNS:
            self._make(name)

    def _make(self, name: str) -> None:
        if name in self.commands:
            return
        self.commands[name] = group = get_group(NOUNS[name].app)
        group.name, group.rich_help_panel = name, NOUNS[name].panel
