"""A `Secret` is seen by whoever asks for it by name, and by nobody and nothing else."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from dataclasses import asdict, dataclass

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.secret import Secret

VALUE = "swordfish-swordfish"


@dataclass
class Settings:
    """What a secret travels in."""

    passphrase: Secret


@pytest.fixture
def secret() -> Secret:
    """The secret that must not be seen."""
    return Secret(VALUE)


def test_whoever_asks_by_name_gets_it(secret: Secret) -> None:
    """`reveal()` is the value itself."""
    assert secret.reveal() == VALUE


def test_printing_does_not_show_it(secret: Secret) -> None:
    """No way to make text of a secret, or of what holds it, contains the value."""
    shown = [
        *(repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{secret!s}", f"{secret!a}", ascii(secret)),
        *("%s %r" % (secret, secret), format(secret), f"{[secret]} {(secret,)}"),  # noqa: UP031 - that is the point
        *(f"{ {'passphrase': secret} }", repr(Settings(secret)), str(Settings(secret)), repr(ValueError(secret))),
    ]
    for text in shown:
        assert VALUE not in text
        assert "***" in text


def test_a_width_is_no_way_around(secret: Secret) -> None:
    """Format specifications are for text, and a secret is none."""
    for specification in (">40", "s", "x", "40", "!r"):
        with pytest.raises(TypeError) as raised:
            format(secret, specification)
        assert VALUE not in str(raised.value)


def test_logging_does_not_show_it(secret: Secret) -> None:
    """Neither the standard library's logging nor structlog, as text or as JSON, with a traceback or without."""
    stream = io.StringIO()
    logger = logging.getLogger("tests.ca.test_secret")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    for renderer in (
        structlog.processors.JSONRenderer(),
        structlog.processors.KeyValueRenderer(),
        structlog.processors.LogfmtRenderer(),
        structlog.dev.ConsoleRenderer(colors=False),
    ):
        log = structlog.wrap_logger(structlog.PrintLogger(stream), processors=[renderer])
        log.info("opened", passphrase=secret, settings=str(Settings(secret)))
    try:
        _fail_with(secret)
    except RuntimeError:
        logger.exception("it failed with %s", secret)
    logger.removeHandler(handler)
    assert "***" in stream.getvalue()
    assert VALUE not in stream.getvalue()


def _fail_with(passphrase: Secret) -> None:
    raise RuntimeError(f"cannot open it with {passphrase}")


def test_tracebacks_do_not_show_it(secret: Secret) -> None:
    """Not even a traceback that shows every local variable."""
    try:
        _fail_with(secret)
    except RuntimeError as error:
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        text = "".join(lines)
    assert "passphrase = Secret(***)" in text
    assert VALUE not in text


def test_it_is_never_serialised(secret: Secret) -> None:
    """Pickling, copying and JSON are errors, alone and inside something."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for thing in (secret, [secret], Settings(secret)):
            with pytest.raises(TypeError) as raised:
                pickle.dumps(thing, protocol)
            assert VALUE not in str(raised.value)
    for attempt in (copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            attempt(secret)
    with pytest.raises(TypeError):
        asdict(Settings(secret))


def test_it_has_no_dictionary_to_look_into(secret: Secret) -> None:
    """`vars()` and attributes that somebody adds do not exist."""
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(AttributeError):
        secret.note = "x"  # type: ignore[attr-defined]


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.text(st.characters(codec="utf-8"), max_size=40))
@settings(deadline=None)
def test_it_matches_itself_alone(value: str, candidate: str) -> None:
    """`matches` is equality of text; as objects, secrets are equal to nothing but themselves."""
    secret = Secret(value)
    assert secret.matches(value)
    assert secret.matches(candidate) is (value == candidate)
    assert secret != value
    assert secret != Secret(value)


def test_what_cannot_be_encoded_does_not_match(secret: Secret) -> None:
    """A lone surrogate, which JSON can bring, is a wrong candidate and not an error."""
    assert not secret.matches("\ud800")
