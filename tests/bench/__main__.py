"""`python -m tests.bench [--quick] [NAME ...]`: print the figures of the named benchmarks, or of all."""

from __future__ import annotations

import argparse
import sys

from tests.bench import (
    consumers,
    crls,
    due,
    growth,
    hsm,
    https,
    issuing,
    mail,
    monthly,
    ocsp,
    pages,
    proof,
    renewing,
    restore,
    scan,
    signer,
    start,
)
from tests.bench.report import console

BENCHMARKS = {
    "issuing": issuing.run,
    "https": https.run,
    "crls": crls.run,
    "start": start.run,
    "growth": growth.run,
    "consumers": consumers.run,
    "due": due.run,
    "scan": scan.run,
    "renewing": renewing.run,
    "pages": pages.run,
    "mail": mail.run,
    "monthly": monthly.run,
    "hsm": hsm.run,
    "signer": signer.run,
    "ocsp": ocsp.run,
    "proof": proof.run,
    "restore": restore.run,
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("name", nargs="*", choices=[*BENCHMARKS, []], help=", ".join(BENCHMARKS))
    arguments = parser.parse_args()
    console.print(f"Python {sys.version.split()[0]}; absolute times depend on the machine, ratios much less")
    for name in arguments.name or BENCHMARKS:
        BENCHMARKS[name](quick=arguments.quick)


if __name__ == "__main__":
    main()
