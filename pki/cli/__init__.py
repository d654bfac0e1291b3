"""The command line: nouns, then verbs. A client of the REST API, near or far; one file a noun.

`client` finds the installation to talk to, `output` prints tables, JSON and refusals. Only `init`, `serve` and `demo`
touch a state directory themselves. Modules that take long to import are imported by the commands that need them, so
that help is there at once.
"""

from __future__ import annotations

import gc


def main() -> None:
    """Entry point of the `certwright` command."""
    gc.set_threshold(100_000, 50, 100)  # looking for circles among what is being imported is a tenth of a start
    from pki.cli.app import run

    run()
