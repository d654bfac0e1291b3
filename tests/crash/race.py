"""`python -m tests.crash.race [COUNT [SECONDS [PROCESSES]]]`: the race of replicas, with a PostgreSQL of its own.

A module apart from `tests/crash/racing.py`, since the processes that are forked run this one's top again.
"""

from __future__ import annotations

import sys

from tests.crash import racing
from tests.postgresql import cluster, fresh_database


def main(arguments: list[str]) -> int:
    """Run it, print what became of it."""
    issuances, seconds, processes = (*map(int, arguments), *(20_000, 3600, 4)[len(arguments) :])
    with cluster() as server:
        report = racing.campaign(fresh_database(server), issuances, seconds=seconds, processes=processes)
    print(
        f"{dict(report.counted)} under {report.kills} kills in {report.seconds:,.0f} s; "
        f"wrong: {len(report.wrong)} {report.wrong[:3]}"
    )
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
