"""The calls to the kernel that a server makes are those that our systemd unit allows: any other one ends in EPERM."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests import peer
from tests.pki.conftest import API, MAIN, Template, problem, serving, wish
from tests.source import ROOT

UNIT = ROOT / "config" / "deploy" / "systemd" / "certwright.service"
CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
AS_ROOT = {"fchown"}
"""What SQLite does for root alone (`robustFchown` in os_unix.c), and the unit's user is not root."""

pytestmark = [pytest.mark.peer("strace"), pytest.mark.peer("systemd")]


def members(group: str) -> set[str]:
    """The calls of one of systemd's groups, and of the groups that it names."""
    shown = peer.run(peer.require("systemd-analyze"), "syscall-filter", group).stdout.decode()
    words = {line.strip() for line in shown.splitlines()[1:] if line.startswith("    ") and "#" not in line}
    return {call for word in words for call in (members(word) if word.startswith("@") else (word,))}


def allowed() -> set[str]:
    """What the lines of the unit come to, in their order: the first one says that it is a list of what is allowed."""
    found: set[str] = set()
    for line in UNIT.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "SystemCallFilter":
            named = {
                call
                for word in value.lstrip("~").split()
                for call in (members(word) if word.startswith("@") else (word,))
            }
            found = found - named if value.startswith("~") else found | named
    return found


def test_a_server_makes_no_call_that_its_unit_forbids(template: Template, state: Path, tmp_path: Path) -> None:
    """From its start to its end, a certificate, a revocation and a refusal in between."""
    log = tmp_path / "calls"
    tracer = (peer.require("strace"), "-D", "-f", "-qq", "-e", "signal=none", "-o", str(log))
    with serving(state, template.token, argv=(*tracer, *MAIN)) as server, server.over_socket() as admin:
        serial = admin.post(f"{API}/certificates", json=wish()).raise_for_status().json()["serial"]
        admin.post(f"{API}/certificates/{serial}/revoke", json={"reason": "superseded"}).raise_for_status()
        problem(admin.get(f"{API}/certificates/beef"), 404, "unknown-certificate")
        assert admin.get("/readyz").status_code == 200
    made = set(CALL.findall(log.read_text()))
    assert {"openat", "fdatasync"} <= made
    assert {"adjtimex", "clock_adjtime"} & made, "nobody has asked whether a time service keeps the clock"
    assert made - allowed() - (AS_ROOT if os.geteuid() == 0 else set()) == set()
