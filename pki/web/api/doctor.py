"""The doctor: what is wrong with this installation, as its own process sees it."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from ca.access import Operation
from pki.doctor.checks import examine
from pki.web.answered_backups import DoctorReport, FindingView
from pki.web.context import CallerDep, ProductDep

router = APIRouter(prefix="/doctor", tags=["doctor"])


@router.get("", summary="What is wrong, and what to do")
def look(product: ProductDep, caller: CallerDep) -> DoctorReport:
    """Changes nothing."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    return DoctorReport(findings=[FindingView(**asdict(each)) for each in examine(product)])
