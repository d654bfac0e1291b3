"""Backups: made and listed. They are restored on the machine itself, by whoever has the key."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from ca.access import Operation
from pki import backup
from pki.product import Product
from pki.web.answered_backups import BackupMade, BackupPage, BackupView
from pki.web.asked_inventory import Nothing
from pki.web.context import CallerDep, ProductDep
from pki.web.lines import Line, Long, Say

router = APIRouter(prefix="/backups", tags=["backups"])
_BACKUP = Long("backup", "a backup is being made already", "wait for it")


@router.get("", summary="The backups that are there")
def listing(product: ProductDep, caller: CallerDep) -> BackupPage:
    """The newest first."""
    caller.must(Operation.READ_LEDGER)
    return BackupPage(items=[_view(each) for each in backup.listing(product)])


@router.post("", summary="Make a backup", response_class=StreamingResponse)
def create(product: ProductDep, caller: CallerDep, body: Nothing) -> StreamingResponse:
    """Answers with one JSON object a line: rows `done` and `of`, the backup last, when it is whole and on the disk.

    Where it goes is a setting, who opens it another. It is made to its end whether or not anybody listens.
    """
    caller.must(Operation.MANAGE_AUTHORITIES)
    backup.target(product)
    return _BACKUP.answer(lambda say: _create(product, caller.identity, say), lambda why: {"error": why})


def _create(product: Product, by: str, say: Say) -> Line:
    made, manifest = backup.create(product, by, lambda done, of: say({"done": done, "of": of}))
    rows, size = sum(manifest["tables"].values()), backup.head_size(manifest)
    return BackupMade(**_view(made).model_dump(), rows=rows, ledger_size=size).model_dump()


def _view(found: backup.Backup) -> BackupView:
    return BackupView(file=str(found.path), made_at=backup.moment(found.made_at), bytes=found.size)
