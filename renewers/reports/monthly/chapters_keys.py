"""Keys, algorithms, who signs with what, and how near ML-DSA is, in words."""

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
from renewers.reports.monthly.wording import number, percent, share

SMALLEST_RSA = 2048
LEAVES = {
    "already": "have an ML-DSA key",
    "by-setting": "could have one: the key type of their lineage is all that is in the way",
    "by-profile": "could have one: their profile would have to allow it, too",
    "issuer-unknown": "not known: renewed by us at an issuer of which we do not know whether it signs ML-DSA keys",
    "holder-unknown": "not known: their holder makes the key",
}


def keys(found: Mapping[str, Any], signers: Mapping[str, Any], as_of: str) -> Chapter:
    """The inventory of keys, and ML-DSA."""
    leaves = found["leaves"]
    total = sum(row["count"] for row in leaves) + found["leaves_other"]
    weak = sum(row["count"] for row in leaves if is_weak(row["type"]))
    blocks: list[Block] = [
        Facts(
            (
                Fact("Certificates", number(total), f"{number(found['keys'])} keys"),
                Fact("Weak keys", number(weak), f"RSA below {SMALLEST_RSA} bits, DSA", BAD if weak else GOOD),
                Fact(
                    "Keys older than a year",
                    percent(found["older_than_a_year"], found["keys"]),
                    share(found["older_than_a_year"], found["keys"]),
                    WATCH if found["older_than_a_year"] else GOOD,
                ),
                Fact(
                    "Keys of several certificates",
                    number(found["shared"]),
                    f"{number(found['sharing'])} certificates share them",
                    WATCH if found["shared"] else GOOD,
                ),
            )
        ),
        _types(leaves, found["leaves_other"], total),
        _ages(found["ages"]),
        _issuers(signers),
        _own(signers["own"]),
        *_mldsa(found["mldsa_leaves"], signers["mldsa"], total),
    ]
    counted = (
        "Certificates of end entities that stand. The age of a key is counted from the beginning of the oldest "
        "certificate that is known for it, replaced ones among them; when a stranger's key was made is not known. "
        "Signature algorithms are those of our CAs' keys; of other issuers, what the newest certificate of theirs that "
        "we hold was signed with. ML-DSA is FIPS 204; could means that this program would do it today."
    )
    return Chapter("keys", "Keys and algorithms", as_of, tuple(blocks), counted)


def is_weak(key_type: str) -> bool:
    """Whether nobody should use such a key any more (NIST SP 800-131A)."""
    family, _, size = key_type.partition("-")
    return family == "DSA" or (family == "RSA" and size.isdigit() and int(size) < SMALLEST_RSA)


def family_of(key_type: str) -> str:
    """What people call such keys."""
    if key_type.startswith("RSA-"):
        return f"RSA, {key_type.removeprefix('RSA-')} bits"
    if key_type.startswith(("P-", "sec", "brainpool")):
        return f"ECDSA, {key_type}"
    return key_type


def _types(leaves: Sequence[Mapping[str, Any]], others: int, total: int) -> Table:
    columns: tuple[Column, ...] = (
        Column("key", 2),
        Column("certificates", 1, is_number=True),
        Column("share", 1, is_number=True),
    )
    columns += (Column("", 2),)
    rows = [
        (
            family_of(row["type"]),
            number(row["count"]),
            percent(row["count"], total),
            "weak: to be replaced" if is_weak(row["type"]) else "",
        )
        for row in leaves
    ]
    if others:
        rows.append(("others", number(others), percent(others, total), ""))
    return Table("Keys of certificates", columns, tuple(rows), "there are no certificates")


def _ages(ages: Sequence[Mapping[str, Any]]) -> Bars:
    said = ", ".join(f"{one['age']}: {number(one['count'])}" for one in ages)
    labels, values = tuple(str(one["age"]) for one in ages), tuple(float(one["count"]) for one in ages)
    return Bars("Keys by age", labels, (Series("keys", values),), f"Keys by age. {said}.")


def _issuers(signers: Mapping[str, Any]) -> Table:
    columns: tuple[Column, ...] = (
        Column("issuer", 4),
        Column("certificates", 1, is_number=True),
        Column("signs with", 1.6),
    )
    rows = [
        (row["issuer"] + (" (ours)" if row["is_ours"] else ""), number(row["count"]), row["signs_with"])
        for row in signers["issuers"]
    ]
    if signers["issuers_other"]:
        rows.append(("others", number(signers["issuers_other"]), wording.UNKNOWN))
    return Table("Issuers, and what they sign with", columns, tuple(rows))


def _own(own: Sequence[Mapping[str, Any]]) -> Table:
    columns: tuple[Column, ...] = (Column("our CA", 1.6), Column("state", 1), Column("key", 1.1), Column("ends", 1.1))
    columns += (Column("SHA-256 of its certificate", 4.2),)
    rows = tuple(
        (row["name"], row["state"], row["key_type"], wording.day(row["not_after"]), row["sha256"]) for row in own
    )
    return Table("Our own CAs", columns, rows, "there are none")


def _mldsa(leaves: Mapping[str, int], signers: Mapping[str, Any], total: int) -> list[Block]:
    columns: tuple[Column, ...] = (Column("ML-DSA", 1), Column("standing", 4.4), Column("number", 1, is_number=True))
    columns += (Column("share", 1, is_number=True),)
    issuing, ready = signers["issuing"], signers["issuing_mldsa"]
    rows = [
        ("issuing CAs", "sign with ML-DSA", number(ready), percent(ready, issuing)),
        (
            "issuing CAs",
            "could be followed by one that does: certwright ca rotate",
            number(issuing - ready),
            percent(issuing - ready, issuing),
        ),
        *(
            ("certificates", said, number(leaves.get(word, 0)), percent(leaves.get(word, 0), total))
            for word, said in LEAVES.items()
        ),
    ]
    consumers, holding = signers["consumers"], signers["consumers_holding"]
    rows.append(
        ("consumers", "were proved to hold a bundle with such a CA", number(holding), percent(holding, consumers))
    )
    text = (
        "Whether the software of a consumer can verify ML-DSA is not known: none says so, and holding is not verifying."
    )
    return [Table("Readiness for ML-DSA", columns, tuple(rows)), Words(text)]
