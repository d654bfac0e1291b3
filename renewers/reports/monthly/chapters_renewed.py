"""How renewing went, how long it takes, and what expired, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from renewers.reports.monthly import wording
from renewers.reports.monthly.blocks import (
    BAD,
    GOOD,
    PLAIN,
    WATCH,
    Bars,
    Block,
    Chapter,
    Column,
    Fact,
    Facts,
    Series,
    Table,
    Words,
)
from renewers.reports.monthly.wording import number, percent, share, span

REASONS = {
    "due": "due",
    "suggested": "in the window that its issuer suggests",
    "asked": "asked for",
    "first": "its first certificate",
    "names": "its names had changed",
    "replacement": "replaced with many others",
}
OUTCOMES = {
    "seen": "seen being served",
    "delivered": "brought there; nobody looks whether it is served",
    "failed": "failed",
    "rolled-back": "failed, and the old one was put back",
    "interrupted": "interrupted",
    "begun": "under way",
}


def renewals(figures: Mapping[str, Any], as_of: str) -> Chapter:
    """Attempts, first tries, waiting, reasons of failures, deliveries."""
    found, tries, brought = figures["renewals"], figures["tries"], figures["deliveries"]
    waited = found["due_to_done"]
    blocks: list[Block] = [
        Facts(
            (
                Fact("Renewed", number(found["issued"]), _reasons(found["reasons"])),
                _first_try(found, tries),
                Fact("From due to done", span(waited["p50"]), f"99 of 100 within {span(waited['p99'])}"),
                Fact(
                    "Deliveries seen",
                    percent(brought["outcomes"].get("seen", 0), brought["attempts"]),
                    share(brought["outcomes"].get("seen", 0), brought["attempts"]),
                ),
            )
        ),
        _by_day(found["by_day"], str(figures["month"])),
        _why("Why renewals failed", tries, "no renewal failed"),
        _outcomes(brought),
        _why("Why deliveries failed", brought, "no delivery failed"),
    ]
    unknown = max(0, found["issued"] - (tries["renewed"] - tries["unknown"]))
    if unknown:
        text = (
            f"Of {wording.counted(unknown, 'renewal')} it is not known how often they were tried: "
            "their events say nothing of it, or are gone."
        )
        blocks.append(Words(text))
    counted = (
        "Renewals whose certificate was issued in the month. A first try is one whose work had not failed before. From "
        "due to done: from when the certificate before it was due by policy, or the renewal was asked for or "
        "suggested, until every destination had it; only finished ones count. Failures are counted by the alarm that "
        "each raises when it begins, not by every attempt. A delivery is one attempt at one destination."
    )
    return Chapter("renewals", "Renewals", as_of, tuple(blocks), counted)


def lead_time(found: Mapping[str, Any], as_of: str) -> Chapter:
    """How long a renewal takes, from its beginning to its being seen everywhere."""
    whole, bars = found["lead_time"], found["histogram"]
    columns: tuple[Column, ...] = (Column("issuer", 1.6), Column("profile", 1.4), Column("renewals", 1, is_number=True))
    columns += tuple(Column(word, 1, is_number=True) for word in ("p50", "p90", "p99", "longest"))
    rows = tuple(
        (one["issuer"] or "not known", one["profile"] or "-", *_spans(one)) for one in found["lead_time_groups"]
    )
    labels = _bounds(bars["bounds"])
    said = ", ".join(f"{label}: {number(count)}" for label, count in zip(labels, bars["counts"], strict=True))
    blocks: list[Block] = [
        Facts(
            (
                Fact("Half took at most", span(whole["p50"]), wording.counted(whole["count"], "renewal")),
                Fact("99 of 100 took at most", span(whole["p99"]), f"the longest {span(whole['longest'])}"),
                Fact("Not seen everywhere yet", number(found["lead_time_unseen"]), "and not counted here"),
            )
        ),
        Bars(
            "Renewals by how long they took",
            labels,
            (Series("renewals", tuple(float(count) for count in bars["counts"])),),
            f"Renewals by how long they took. {said}.",
        ),
        Table("Lead time by issuer and profile", columns, rows, "nothing was renewed"),
    ]
    counted = (
        "From making the key until the last destination that waited for it was first seen serving it, of renewals that "
        "were issued in the month; where nobody looks, until it was issued. Percentiles are by nearest rank: each is a "
        "time that was really measured. With few renewals the 99th is the longest."
    )
    return Chapter("lead-time", "Lead time", as_of, tuple(blocks), counted)


def expiries(found: Mapping[str, Any], as_of: str) -> Chapter:
    """What expired, and whether somebody had been told."""
    without, how = found["without"], "a letter" if found["has_mail"] else "an alarm"
    text = f"Nothing that somebody cared for expired without {how} before."
    if without:
        text = f"{wording.counted(without, 'thing')} expired without {how} before: this must be 0, and was not."
    columns: tuple[Column, ...] = (Column("expired", 1.4), Column("what", 4), Column("an alarm before", 1.2))
    rows = tuple(
        (wording.moment(row["end"]), row["name"], "yes" if row["by_alarm"] else "no") for row in found["silent"]
    )
    blocks: list[Block] = [
        Facts(
            (
                Fact("Expired without prior notice", number(without), "must be 0", BAD if without else GOOD),
                Fact("Expired", number(found["total"]), "", WATCH if found["total"] else GOOD),
                Fact(
                    "A letter had told of", number(found["by_letter"]), "" if found["has_mail"] else "no mail is set up"
                ),
                Fact("An alarm had told of", number(found["by_alarm"]), "webhooks, metrics, the dashboard"),
            )
        ),
        Words(text, BAD if without else PLAIN),
    ]
    if without:
        blocks.append(Table("Expired without prior notice", columns, rows))
    counted = (
        "What the watch saw expire in the month while somebody cared for it: owned, seen somewhere, or renewed by us "
        "or by a person. What its holder alone renews, nobody owns and nobody sees ends silently, and is not counted. "
        "A letter counts if a mail server took it before the end; where no mail is set up, an earlier alarm counts."
    )
    return Chapter("expiries", "Expiries without prior notice", as_of, tuple(blocks), counted)


def _first_try(found: Mapping[str, Any], tries: Mapping[str, Any]) -> Fact:
    known = tries["renewed"] - tries["unknown"]
    if found["issued"] and not known:
        return Fact("At the first try", wording.UNKNOWN, "no event of the month says so")
    note = f"{share(tries['first_try'], known)}, {wording.counted(tries['attempts'], 'attempt')} in all"
    tone = GOOD if known and tries["first_try"] == known else WATCH if known else PLAIN
    return Fact("At the first try", percent(tries["first_try"], known) if known else "none", note, tone)


def _reasons(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{number(count)} {REASONS.get(word, word)}" for word, count in reasons.items())


def _by_day(days: Sequence[int], month: str) -> Bars:
    labels = tuple(str(place + 1) for place in range(len(days)))
    busiest = max(range(len(days)), key=days.__getitem__, default=0)
    said = f"in all {number(sum(days))}, most on day {busiest + 1}: {number(days[busiest])}"
    series = (Series("renewed", tuple(float(count) for count in days)),)
    return Bars(
        "Renewals on each day of the month", labels, series, f"Renewals on each day of {month}: {said}.", every=2
    )


def _why(caption: str, found: Mapping[str, Any], empty: str) -> Table:
    columns: tuple[Column, ...] = (Column("times", 0.7, is_number=True), Column("reason", 6))
    rows = [(number(row["count"]), row["reason"]) for row in found["reasons"]]
    if found["reasons_other"]:
        rows.append((number(found["reasons_other"]), "others"))
    return Table(caption, columns, tuple(rows), empty)


def _outcomes(brought: Mapping[str, Any]) -> Table:
    columns: tuple[Column, ...] = (Column("deliveries", 1, is_number=True), Column("what became of them", 4))
    columns += (Column("share", 1, is_number=True),)
    rows = tuple(
        (number(count), OUTCOMES.get(word, word), percent(count, brought["attempts"]))
        for word, count in brought["outcomes"].items()
    )
    took = brought["until_seen"]
    note = f"until seen: half within {span(took['p50'])}, 99 of 100 within {span(took['p99'])}" if took["count"] else ""
    return Table("Deliveries", columns, rows, "nothing was delivered", note)


def _spans(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (number(one["count"]), *(span(one[word]) for word in ("p50", "p90", "p99", "longest")))


def _bounds(bounds: Sequence[int]) -> tuple[str, ...]:
    return (*(f"\u2264 {span(bound)}" for bound in bounds), f"> {span(bounds[-1])}")
