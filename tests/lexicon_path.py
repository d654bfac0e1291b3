"""The provider of `providers/pretend.py` among those that dns-lexicon has."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PRIVATE = "lexicon._private"


def pretend_provider(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its class, with an empty zone; the test is skipped where dns-lexicon is not installed."""
    if find_spec("lexicon") is None:
        pytest.skip("dns-lexicon is not installed")
    import_module("lexicon")
    for name in ("cli", "parser", "discovery"):
        # Hypothesis looks at the file of every module; these three warn whoever asks for what they do not have.
        sys.modules[f"lexicon.{name}"].__file__ = import_module(f"{PRIVATE}.{name}").__file__
    providers = import_module(f"{PRIVATE}.providers")
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(Path(__file__).parent / "providers")])
    provider = import_module(f"{PRIVATE}.providers.pretend").Provider
    provider.zone.clear()
    provider.calls.clear()
    provider.released.clear()
    return provider
