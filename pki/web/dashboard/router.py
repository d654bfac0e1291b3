"""Every page there is. A new one is a module with a `router` and its name in this list."""

from __future__ import annotations

from pki.web.dashboard import (
    actions,
    approvals,
    assets,
    calendar,
    certificate,
    consumers,
    devices,
    hierarchy,
    home,
    inventory,
    ledger,
    letters,
    oidc,
    owners,
    report_monthly,
    sign_in,
    work,
)

ROUTERS = (
    *(assets.router, sign_in.router, oidc.router, home.router, report_monthly.router),
    *(calendar.router, inventory.router, certificate.router, owners.router, hierarchy.router),
    *(actions.router, approvals.router, consumers.router, devices.router, work.router, letters.router, ledger.router),
)
