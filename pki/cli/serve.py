"""`certwright serve`: run everything."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.client.where import where


def serve(
    only: Annotated[
        str | None, typer.Option(help="Only `api` or only `schedule`; with PostgreSQL, replicas may share the work.")
    ] = None,
) -> None:
    """Run the listeners and the schedule until Ctrl-C or SIGTERM. Logs are JSON on standard error."""
    from pki.logs import configure_logs
    from pki.product import Product
    from pki.settings import state_directory
    from pki.web.server import PARTS
    from pki.web.server import serve as run

    if only is not None and only not in PARTS:
        raise typer.BadParameter(f"{only} is not one of {', '.join(PARTS)}", param_hint="--only")
    with Product.open(where.state or state_directory()) as product:
        configure_logs(product.settings.log.level)
        run(product, only=only)
