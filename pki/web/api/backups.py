"""Backups: made and listed. They are restored on the machine itself, by whoever has the key."""

from __future__ import annotations

from fastapi import APIRouter

from ca.access import Operation
from pki import backup
from pki.web.answered_backups import BackupMade, BackupPage, BackupView
from pki.web.context import CallerDep, ProductDep

router = APIRouter(prefix="/backups", tags=["backups"])


@router.get("", summary="The backups that are there")
def listing(product: ProductDep, caller: CallerDep) -> BackupPage:
    """The newest first."""
    caller.must(Operation.READ_LEDGER)
    return BackupPage(items=[_view(each) for each in backup.listing(product)])


@router.post("", summary="Make a backup", status_code=201)
def create(product: ProductDep, caller: CallerDep) -> BackupMade:
    """Answered when it is whole and on the disk. Where it goes is a setting, who opens it another."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    made, manifest = backup.create(product, caller.identity)
    rows, size = sum(manifest["tables"].values()), backup.head_size(manifest)
    return BackupMade(**_view(made).model_dump(), rows=rows, ledger_size=size)


def _view(found: backup.Backup) -> BackupView:
    return BackupView(file=str(found.path), made_at=backup.moment(found.made_at), bytes=found.size)
