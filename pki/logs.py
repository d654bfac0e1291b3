"""Logs: one JSON object a line on standard error, with a stable `event` name and nothing secret.

What is logged is what somebody can act on; who did what to which certificate is the ledger's to say.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


_TRACEBACK = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=30)
"""Where it happened, not what was at hand there: the locals of a frame may be tokens, passphrases and keys."""

QUIET = (
    *("alembic", "apscheduler", "httpcore", "httpx", "sqlalchemy.engine", "uvicorn.access", "uvicorn.error"),
    *("lexicon", "requests", "urllib3"),
)
"""Libraries that say too much at debug level: URLs among it, into which providers put tokens."""


def configure_logs(level: str) -> None:
    """Set up this process's logs, those of the libraries included."""
    number = _LEVELS[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_TRACEBACK),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.INFO) if level != "debug" else logging.DEBUG)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def logger(name: str) -> Any:
    """Make a module's logger; its lines are events, such as `log.warning("crl-overdue", authority=name)`."""
    return structlog.get_logger(module=name)


class _Json(logging.Formatter):
    """Log records of the libraries in the same form, and those of the floors below with what they say in `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"event": record.getMessage(), "level": record.levelname.lower(), "module": record.name}
        entry = {**getattr(record, "fields", {}), **entry}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)
