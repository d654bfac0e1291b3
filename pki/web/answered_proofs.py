"""What the API answers about the ledger's proofs. Hashes are lower-case hex, checkpoints texts in the C2SP format."""

from __future__ import annotations

from pydantic import BaseModel


class ProofView(BaseModel):
    """That the tree of `size` entries has `entry`, exactly as it is written, at `position` (RFC 9162 section 2.1.3).

    `checkpoint` is the head of that size, or null where none was signed. `consistency` leads there from the head of
    size `kept` that was asked about, where they differ.
    """

    entry: str
    position: int
    size: int
    inclusion: list[str]
    checkpoint: str | None
    kept: int | None
    consistency: list[str] | None
    certificate: str | None
    verifier: str


class ConsistencyView(BaseModel):
    """That the ledger at size `new` begins with what it was at size `old` (RFC 9162 section 2.1.4)."""

    old: int
    new: int
    proof: list[str]
    checkpoint: str | None
