"""Revocations, changes of trust and the head of the ledger, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renewers.reports.monthly import wording
from renewers.reports.monthly.blocks import Block, Chapter, Column, Fact, Facts, Signing, Table, Verbatim, Words
from renewers.reports.monthly.wording import number, percent


def revocations(found: Mapping[str, Any], as_of: str) -> Chapter:
    """By reason."""
    columns: tuple[Column, ...] = (
        Column("reason", 3),
        Column("revoked", 1, is_number=True),
        Column("share", 1, is_number=True),
    )
    rows = tuple((word, number(count), percent(count, found["total"])) for word, count in found["reasons"].items())
    canaries = Fact(
        "Revoked on purpose", number(found["canaries"]), "canaries, to see that lists are read; not counted"
    )
    blocks: tuple[Block, ...] = (
        Facts((Fact("Revoked", number(found["total"])), canaries)),
        Table("Revocations by reason", columns, rows, "nothing was revoked"),
    )
    counted = (
        "Certificates of our own CAs, by the time and the reason of their revocation (RFC 5280 section 5.3.1). Those "
        "that ended so long ago that they are forgotten are not in it; the ledger has them."
    )
    return Chapter("revocations", "Revocations", as_of, blocks, counted)


def changes(found: Mapping[str, Any], as_of: str) -> Chapter:
    """Rotations with their steps, and what else happened to CAs."""
    steps = tuple(
        (wording.moment(row["at"]), row["line"], f"{row['stage']}: {row['what']}", row["by"]) for row in found["steps"]
    )
    states = tuple((wording.moment(row["at"]), row["subject"], row["what"], row["by"]) for row in found["authorities"])
    more = found["authorities_count"] - len(states)
    blocks = (
        _rotations(found),
        Table("Their steps in the month", _columns("line", "step"), steps, "none"),
        Table(
            "What happened to CAs and to anchors of others",
            _columns("which", "what"),
            states,
            "nothing",
            f"and {number(more)} more" if more > 0 else "",
        ),
    )
    counted = (
        "Rotations and their steps from their tables; what happened to CAs from the entries of the ledger between the "
        "heads at the month's beginning and end. Each is there with its evidence: certwright rotation show, "
        "certwright ledger export."
    )
    return Chapter("changes", "Changes of trust", as_of, blocks, counted)


def _columns(which: str, what: str) -> tuple[Column, ...]:
    return Column("at", 1.6), Column(which, 1.4), Column(what, 2.4), Column("by", 1.6)


def _rotations(found: Mapping[str, Any]) -> Table:
    columns = (Column("no.", 0.5), Column("line", 1), Column("from, to", 2.2), Column("stage", 1))
    rows = tuple(
        (
            str(row["id"]),
            row["line"],
            f"{', '.join(row['outgoing'])} \u2192 {', '.join(row['incoming']) or '?'}",
            row["stage"] if row["state"] == "open" else row["state"],
            f"{wording.day(row['started_at'])} to {wording.day(row['ended_at'], 'now')}",
            ("compromise: " if row["is_compromise"] else "") + (row["reason"] or "no reason was given"),
        )
        for row in found["rotations"]
    )
    last = (Column("open", 1.9), Column("reason", 2.2))
    return Table("Rotations that were open in the month", (*columns, *last), rows, "no rotation was open")


def ledger(head: Mapping[str, Any] | None, sha256: str, as_of: str) -> Chapter:
    """The head that whoever signs holds, and the place to sign."""
    blocks: list[Block] = []
    if head is None:
        blocks.append(Words("Not known: no head of the ledger was signed by then."))
    else:
        size, signed = number(head["size"]), wording.moment(head["signed_at"])
        facts = (Fact("Entries", size), Fact("Signed", signed), Fact("Root", head["root"], "SHA-256, hexadecimal"))
        blocks += [
            Facts(facts),
            Verbatim("The signed head, as text (C2SP checkpoint)", head["checkpoint"].rstrip("\n")),
            Verbatim("The key that it is checked with (C2SP signed note)", head["verifier"]),
        ]
    blocks += [
        Verbatim("SHA-256 of the figures of this report, as the ledger has it", sha256),
        Signing("I have read this report and hold the head above."),
    ]
    counted = (
        "The newest head that was signed before the end of the month. Whoever keeps it can have shown later that the "
        "ledger still contains what it contained then: certwright ledger verify. The figures of a month that is over "
        "are kept as JSON; their hash is in the ledger's entry report-made."
    )
    return Chapter("ledger", "Head of the ledger", as_of, tuple(blocks), counted, starts_page=True)
