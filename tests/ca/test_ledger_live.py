"""An audit of a store that is being written to: what happens meanwhile is no finding, what happened before is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete

from ca import revocation
from ca.installation import Installation
from ca.ledger.reconcile import _Tables, audit
from ca.ledger.verify import Report
from ca.models import Revocation
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import outside

pytestmark = pytest.mark.peer("postgresql")


def revoke(installation: Installation) -> None:
    """Issue a certificate and revoke it."""
    issued = rig.issue(installation)
    revocation.revoke(installation, rig.OPERATOR, issued.serial, RevocationReason.SUPERSEDED)


def judged(installation: Installation) -> Report:
    """What an audit says."""
    return audit(installation.store, installation.ledger.verifier)


@pytest.mark.parametrize("step", ["__init__", "compare", "finish", "_find_unrecorded"])
def test_what_happens_meanwhile_is_no_finding(any_store: Store, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Issued, revoked and sequenced between any two looks at entries and rows."""
    installation = rig.make_installation(any_store)
    revoke(installation)
    installation.ledger.sequence()
    revoke(installation)
    done, real = [0], getattr(_Tables, step)

    def busy(*arguments: Any) -> Any:
        done[0] += 1
        revoke(installation)
        installation.ledger.sequence()
        revoke(installation)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_Tables, step, busy)
        assert judged(installation).findings == []
    assert done[0] > 0
    assert judged(installation).is_sound
    with outside(any_store) as connection:
        connection.execute(delete(Revocation))
    assert not judged(installation).is_sound
