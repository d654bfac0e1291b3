"""The ground of the publisher into a Kubernetes ConfigMap; all is said in `kubernetes.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.contracts.grounds import kubernetes


@contextmanager
def opened(home: Path) -> Iterator[kubernetes.KubernetesGround]:
    """A ConfigMap that does not exist yet."""
    with kubernetes.opened_kind("ConfigMap") as ground:
        yield ground
