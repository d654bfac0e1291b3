"""Whose what is, in words, with the statement that owners sign once a quarter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from renewers.reports.monthly import wording
from renewers.reports.monthly.blocks import BAD, GOOD, WATCH, Block, Chapter, Column, Fact, Facts, Signing, Table, Words
from renewers.reports.monthly.months import Month
from renewers.reports.monthly.wording import number, share

STATEMENT = "I confirm that these are mine."


def ownership(found: Mapping[str, Any], month: Month, as_of: str) -> Chapter:
    """Every owner with what is theirs, what nobody owns, and the quarterly statement."""
    owners, orphans = found["owners"], found["orphans"]
    is_quarter = month.closing == month
    total = sum(row["certificates"] + row["others"] for row in owners) + orphans
    dead = sum(row["dead_since"] is not None for row in owners)
    blocks: list[Block] = [
        Facts(
            (
                Fact("Owners", number(len(owners)), f"{number(sum(map(_has_something, owners)))} with something"),
                Fact("Owned by nobody", number(orphans), share(orphans, total), WATCH if orphans else GOOD),
                Fact("Mailboxes that do not work", number(dead), "mail to them came back", BAD if dead else GOOD),
            )
        ),
        Words(_statement(month)),
        _owners(found),
        _orphans(found),
    ]
    if is_quarter:
        blocks.append(_to_sign(found["owners"], month))
        said = f"Statement for the {month.quarter}, of whoever signs for all of the owners above: {STATEMENT}"
        blocks.append(Signing(said, ("Name and role", "Signature", "Date")))
    counted = (
        "All that stands (not replaced, not ended): set on it, on its lineage, or claimed by a rule, as written down "
        "when each was last looked at. An orphan is claimed by nobody; the fallback owner hears of it and does not own "
        "it. A mailbox works as far as nothing came back from it. The last acknowledgement is the newest of those that "
        "are kept. What a person has to renew within 90 days is counted from the day above."
    )
    return Chapter("ownership", "Attestation of ownership", as_of, tuple(blocks), counted)


def _has_something(row: Mapping[str, Any]) -> bool:
    return bool(row["certificates"] or row["others"])


def _statement(month: Month) -> str:
    if month.closing == month:
        return (
            f"Each owner signs for the {month.quarter}: \u201c{STATEMENT}\u201d Whoever does not says which are not, "
            "and they are assigned anew with certwright track assign."
        )
    return (
        f"Owners sign once a quarter (\u201c{STATEMENT}\u201d): for the {month.quarter} with the report of "
        f"{month.closing.name}. Until then this table is for looking at."
    )


def _owners(found: Mapping[str, Any]) -> Table:
    columns: tuple[Column, ...] = (
        Column("owner", 2.2),
        Column("certi\u00adficates", 0.8, is_number=True),
        Column("by program", 0.8, is_number=True),
        Column("by holder", 0.7, is_number=True),
        Column("by a person", 0.7, is_number=True),
        Column("of these within 90 d", 0.8, is_number=True),
        Column("late or worse", 0.6, is_number=True),
        Column("mailbox", 3.0),
        Column("last acknow\u00adledged", 1.0),
    )
    rows = tuple(_owner(row) for row in found["owners"])
    if found["orphans"]:
        rows += (("(nobody)", *_counts(found["nobody"]), "", ""),)
    caption = "Owners, what is theirs, and who renews it"
    return Table(caption, columns, rows, "there are no owners: certwright owner add")


def _to_sign(owners: Sequence[Mapping[str, Any]], month: Month) -> Table:
    """A line for each owner that has something, with room for a pen."""
    columns = (
        Column("owner", 2.2),
        Column("what is theirs", 2),
        Column("name and signature", 3.2),
        Column("date", 1.2),
    )
    rows = tuple((str(row["name"]), _theirs(row), "", "") for row in owners if _has_something(row))
    caption = f"{month.quarter}: \u201c{STATEMENT}\u201d"
    return Table(caption, columns, rows, "nobody owns anything", to_sign=True)


def _theirs(row: Mapping[str, Any]) -> str:
    others = f", {wording.counted(row['others'], 'other thing')}" if row["others"] else ""
    by_hand = f", {number(row['person'])} renewed by a person" if row["person"] else ""
    return f"{wording.counted(row['certificates'], 'certificate')}{by_hand}{others}"


def _owner(row: Mapping[str, Any]) -> tuple[str, ...]:
    name = f"{row['name']} (fallback)" if row["is_fallback"] else str(row["name"])
    if row["others"]:
        name += f", and {wording.counted(row['others'], 'other thing')}"
    return (name, *_counts(row), _mailbox(row), wording.day(row["last_acknowledged"], "none is kept"))


def _counts(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(number(row[word]) for word in ("certificates", "program", "holder", "person", "soon", "alarming"))


def _mailbox(row: Mapping[str, Any]) -> str:
    if row["dead_since"] is not None:
        return f"{row['email']}: dead since {wording.day(row['dead_since'])}"
    if row["last_letter"] is None:
        return f"{row['email']}: never written to"
    return f"{row['email']}: written to {wording.day(row['last_letter'])}" + (
        ", wants no digests" if row["digests_off_at"] is not None else ""
    )


def _orphans(found: Mapping[str, Any]) -> Table:
    columns: tuple[Column, ...] = (
        Column("ends", 1.2),
        Column("what", 3.2),
        Column("issuer", 3),
        Column("renewed by", 1.2),
    )
    rows = tuple(
        (wording.day(row["not_after"]), row["name"], row["issuer"] or "(no name)", row["renewed_by"])
        for row in found["orphans_first"]
    )
    more = found["orphans"] - len(rows)
    note = f"and {number(more)} more: certwright track orphans" if more > 0 else ""
    return Table("What nobody owns, the first to end first", columns, rows, "nothing: everything has an owner", note)
