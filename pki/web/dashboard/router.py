"""Every page there is. A new one is a module with a `router` and its name in this list."""

from __future__ import annotations

from pki.web.dashboard import assets, home

ROUTERS = (assets.router, home.router)
