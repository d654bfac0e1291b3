"""What comes: the forecast, readiness for short lives, and milestones of CAs and CRLs, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from renewers.reports.monthly import wording
from renewers.reports.monthly.blocks import (
    BAD,
    GOOD,
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
from renewers.reports.monthly.wording import number

WHY = {
    "by-hand": "a person renews it",
    "failing": "its renewal fails at present",
    "stopped": "its renewal has stopped; a person has to mend it",
}
KINDS = {"root": "root CA", "intermediate": "intermediate CA", "crl": "CRL", "bundle": "trust bundle"}
WHATS = {"due": "its successor has to be prepared", "end": "ends"}
WHO = {"program": "by this program", "holder": "by whoever holds the key", "person": "by a person"}


def forecast(found: Mapping[str, Any], renewals: Mapping[str, Any], as_of: str) -> Chapter:
    """Weeks and months ahead under each lifetime, beside what was done, and the limits of CAs."""
    under = found["under"]
    names = tuple(_lifetime(one["lifetime"]) for one in under)
    done = renewals["by_day"]
    average, busiest = sum(done) / max(1, len(done)), max(done, default=0)
    blocks: list[Block] = [
        Facts(
            (
                Fact("Certificates counted", number(found["certificates"]), "current, and renewed by this program"),
                Fact("Done a day in the month", number(average), f"at most {number(busiest)} on one day"),
                *(
                    Fact(f"Expected a day, {name}", number(one["a_day"]), _peak(one))
                    for name, one in zip(names, under, strict=True)
                ),
            )
        ),
        _weeks(found, names),
        _table("Renewals expected in each of the coming 12 months", "month", found["months"], names, under, "months"),
        _limits(found["limits"]),
    ]
    counted = (
        "The current certificates of all lineages that this program renews, each when it is due by policy, with its "
        "spread; what follows them lives at most as long as the column says, and at most as long as today. What others "
        "renew, and what will be added, is not in it. A day's limit is held against expected renewals alone."
    )
    return Chapter("forecast", "Forecast", as_of, tuple(blocks), counted)


def readiness(found: Mapping[str, Any], forecasts: Mapping[str, Any], groups: Sequence[Any], as_of: str) -> Chapter:
    """Who renews what, how long it lives, which issuers can go faster, and what would break first."""
    lives = found["lives"]
    total = sum(sum(counts.values()) for counts in lives.values())
    blocks: list[Block] = [
        Facts(
            (
                *(_who(who, sum(lives.get(who, {}).values()), total) for who in ("program", "holder", "person")),
                _by_hand(found["by_hand_yearly"]),
            )
        ),
        _lives(lives),
        _breaking(found),
        *_slow(groups),
        *_broken(forecasts["limits"]),
        _issuers(found["issuers"]),
        _strangers(found),
    ]
    counted = (
        "Every certificate of an end entity that stands (not replaced, not ended), by the mode of its lineage; what "
        "has no lineage is renewed by a person. Whether a holder renews with a program is not known here. The lives of "
        "100 and 47 days are those of ballot SC-081v3 for public certificates (from 15 March 2027 and 2029); a private "
        "CA may choose. Renewals by hand are counted as one at the end of each life. What breaks first is what ends "
        "first, since its successor would be the first to live shorter."
    )
    return Chapter("readiness", "Readiness for lives of 100 and 47 days", as_of, tuple(blocks), counted)


def milestones(found: Mapping[str, Any], as_of: str) -> Chapter:
    """The next 24 months of what signs and is published."""
    rows = tuple(
        (
            wording.day(row["at"]) + (" (past)" if row["is_past"] else ""),
            row["name"],
            KINDS.get(row["kind"], row["kind"]),
            WHATS.get(row["what"], row["what"]),
        )
        for row in found["rows"]
    )
    columns: tuple[Column, ...] = (
        Column("day", 1.7),
        Column("what", 3.6),
        Column("kind", 1.5),
        Column("milestone", 2.6),
    )
    note = f"cut after {number(found['listed'])}" if found["is_cut"] else ""
    empty = "nothing is due and nothing ends in the next 24 months"
    counted = (
        "Our own CAs, their CRLs and the trust bundle, and CAs and CRLs of others that are tracked: when a successor "
        "has to be prepared by policy, and when each ends. A CRL is replaced by its publisher long before: its row "
        "says when it would end if that stood still."
    )
    table = Table("Milestones of the next 24 months", columns, rows, empty, note)
    return Chapter("milestones", "CAs and CRLs in the next 24 months", as_of, (table,), counted)


def _lifetime(days: int | None) -> str:
    return "as today" if days is None else f"at most {days} d"


def _peak(one: Mapping[str, Any]) -> str:
    smoothed = f"; {number(one['smoothed_peak'])} if smoothed" if one["smoothed_peak"] < one["peak"] else ""
    return f"at most {number(one['peak'])}, on {one['peak_day']}{smoothed}"


def _weeks(found: Mapping[str, Any], names: Sequence[str]) -> Bars:
    series = tuple(Series(name, tuple(one["weeks"])) for name, one in zip(names, found["under"], strict=True))
    said = "; ".join(f"{one.name}: {', '.join(map(number, one.values))}" for one in series)
    alt = f"Renewals in each of 13 weeks from {found['weeks'][0]}. {said}."
    labels = tuple(week[5:] for week in found["weeks"])
    return Bars("Renewals expected in each of the coming 13 weeks", labels, series, alt)


def _table(
    caption: str, head: str, labels: Sequence[str], names: Sequence[str], under: Sequence[Any], key: str
) -> Table:
    columns: tuple[Column, ...] = (Column(head, 1.4), *(Column(name, 1, is_number=True) for name in names))
    rows = tuple((label, *(number(one[key][place]) for one in under)) for place, label in enumerate(labels))
    return Table(caption, columns, rows)


def _limits(limits: Sequence[Mapping[str, Any]]) -> Block:
    if not limits:
        return Words("No issuer of the settings has limits that are known here: none is held against the forecast.")
    columns: tuple[Column, ...] = (
        Column("issuer", 1.2),
        Column("certificates", 1, is_number=True),
        Column("under", 1.1),
    )
    columns += (Column("limits that would break, and when first", 4.5),)
    rows = []
    for one in limits:
        judged = f"none of {', '.join(one['judged'])}" if one["judged"] else "none that is counted for the account"
        for under in one["under"]:
            breaks = "; ".join(_break(found) for found in under["breaks"]) or judged
            rows.append((one["issuer"], number(one["certificates"]), _lifetime(under["lifetime"]), breaks))
    apart = sorted({name for one in limits for name in one["unjudged"]})
    note = f"counted apart by name or domain, and not judged: {', '.join(apart)}" if apart else ""
    return Table("Limits of issuers held against the forecast", columns, tuple(rows), note=note)


def _break(found: Mapping[str, Any]) -> str:
    return f"{found['limit']} on {found['day']}: {number(found['expected'])} where {number(found['allowed'])} may be"


def _who(who: str, count: int, total: int) -> Fact:
    tone = WATCH if who == "person" and count else GOOD if who == "program" and count else "plain"
    return Fact(f"Renewed {WHO[who]}", wording.percent(count, total), f"{number(count)} of {number(total)}", tone)


def _by_hand(yearly: Mapping[str, int]) -> Fact:
    now, hundred, short = (yearly.get(word, 0) for word in ("now", "100", "47"))
    note = f"{number(hundred)} with 100 days, {number(short)} with 47"
    return Fact("Renewals by hand a year", number(now), note, WATCH if now else GOOD)


def _lives(lives: Mapping[str, Mapping[str, int]]) -> Table:
    columns: tuple[Column, ...] = (
        Column("renewed", 2),
        Column("up to 47 d", 1, is_number=True),
        Column("up to 100 d", 1, is_number=True),
    )
    columns += (Column("longer", 1, is_number=True),)
    rows = tuple(
        (WHO[who], *(number(lives.get(who, {}).get(word, 0)) for word in ("47", "100", "longer"))) for who in WHO
    )
    return Table("Certificates by who renews them and how long they live", columns, rows)


def _breaking(found: Mapping[str, Any]) -> Table:
    columns: tuple[Column, ...] = (
        Column("ends", 1.2),
        Column("certificate", 3),
        Column("owner", 1.8),
        Column("lives", 0.9),
    )
    columns += (Column("why", 2.2),)
    rows = tuple(
        (
            wording.day(row["not_after"]),
            row["name"],
            row["owner"] or "nobody",
            wording.span(row["life"]).split(" d")[0] + " d",
            WHY.get(row["why"], row["why"]),
        )
        for row in found["first"]
    )
    counts = ", ".join(f"{number(count)}: {WHY.get(word, word)}" for word, count in found["why"].items())
    empty = "nothing: a program renews all of it, and none of that fails"
    return Table("What would break first", columns, rows, empty, f"in all {counts}" if counts else "")


def _slow(groups: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Where renewals took longer than the third of a life of 47 days that is left when they are due."""
    most = 47 * 86400 // 3
    slow = [one for one in groups if (one["p99"] or 0) > most]
    text = "; ".join(f"{_group(one)}: {wording.span(one['p99'])} (99 of 100)" for one in slow)
    said = (
        f"Too slow for lives of 47 days, of which a third ({wording.span(most)}) is left when a renewal is due: {text}."
    )
    return [Words(said, BAD)] if slow else []


def _group(one: Mapping[str, Any]) -> str:
    return f"{one['issuer']}, profile {one['profile']}" if one["profile"] else str(one["issuer"])


def _broken(limits: Sequence[Mapping[str, Any]]) -> list[Block]:
    found: list[Block] = []
    for one in limits:
        for under in one["under"]:
            if under["lifetime"] is not None and under["breaks"]:
                breaks = "; ".join(_break(each) for each in under["breaks"])
                found.append(Words(f"With {under['lifetime']} days, {one['issuer']} would refuse: {breaks}.", BAD))
    return found


def _issuers(issuers: Sequence[Mapping[str, Any]]) -> Table:
    columns: tuple[Column, ...] = (
        Column("issuer", 1.2),
        Column("certificates", 1, is_number=True),
        Column("says when to renew", 1.2),
    )
    columns += (Column("answers", 2), Column("limits", 2.4))
    rows = tuple(
        (
            one["name"],
            number(one["certificates"]),
            "yes" if one["suggests_windows"] else "no",
            _answers(one),
            "; ".join(one["limits"]) or "none known",
        )
        for one in issuers
    )
    return Table("Issuers that a program asks, and what they can do", columns, rows, "no issuer is set up")


def _answers(one: Mapping[str, Any]) -> str:
    if one["failing_since"] is not None:
        return f"not since {wording.moment(one['failing_since'])}"
    return "not asked yet" if one["last_success"] is None else f"last on {wording.day(one['last_success'])}"


def _strangers(found: Mapping[str, Any]) -> Table:
    columns: tuple[Column, ...] = (Column("issuer", 4), Column("certificates", 1, is_number=True))
    rows = [(row["issuer"] or "(no name)", number(row["count"])) for row in found["by_hand_issuers"]]
    if found["by_hand_others"]:
        rows.append(("others", number(found["by_hand_others"])))
    return Table("Issuers of what people renew by hand", columns, tuple(rows))
