"""`python -m tests.crash.replicas [RENEWALS [KILLS]]`: the renewal campaign, with a PostgreSQL of its own.

A module apart from `tests/crash/renewals.py`, since the processes that are forked run this one's top again.
"""

from __future__ import annotations

import sys

from tests.crash import renewals
from tests.postgresql import cluster, fresh_database


def main(arguments: list[str]) -> int:
    """Run it, print what became of it."""
    count, kills = (*map(int, arguments), *(1000, 200)[len(arguments) :])
    with cluster() as server:
        report = renewals.campaign(fresh_database(server), count, kills)
    print(
        f"{report.renewals:,} renewals under {report.kills} kills in {report.seconds:,.0f} s; "
        f"{report.resumed:,} pieces of work were taken up again, {report.given_up:,} intents given up; "
        f"hurried: {report.hurried}; wrong: {len(report.wrong)} {report.wrong[:3]}"
    )
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
