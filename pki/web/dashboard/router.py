"""Every page there is. A new one is a module with a `router` and its name in this list."""

from __future__ import annotations

from pki.web.dashboard import assets, home, report_monthly

ROUTERS = (assets.router, home.router, report_monthly.router)
