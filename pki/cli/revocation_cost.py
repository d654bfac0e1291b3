"""What a mass revocation comes to, in words: for whoever is about to begin one."""

from __future__ import annotations

from typing import Any


def cost_fields(cost: dict[str, Any]) -> dict[str, Any]:
    """The fields to show."""
    shards = [one for one in cost["lists"] if one["shard"] is not None]
    complete = [one for one in cost["lists"] if one["shard"] is None]
    largest = max(shards, key=lambda one: int(one["size_after"]), default=None)
    carried = [f"{count} by {kind}" for kind, count in sorted(cost["consumers"].items())]
    return {
        "to revoke": cost["certificates"],
        "on hold already": cost["held"],
        "shards made anew": len(shards),
        "the largest of them": "-" if largest is None else _grows(largest),
        "complete lists": [f"{one['authority']}: {_grows(one)}" for one in complete],
        "deltas grow by": f"{cost['delta_bytes']} bytes",
        "signed after about": f"{cost['seconds']:.1f} s",
        "consumers": carried or "none",
        "OCSP answers to sign anew": cost["ocsp_answers"],
    }


def _grows(one: dict[str, Any]) -> str:
    return f"{one['entries']} -> {one['entries_after']} entries, {one['size']} -> {one['size_after']} bytes"
