"""OCSP over HTTP: how clients send it, what caches are told, what is refused, and what is counted."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx
import pytest
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlmodel import col

from ca import clock, revocation
from ca.ocsp import encoding
from ca.ocsp.responder import FRESH_FOR
from ca.x509.revocation_list import RevocationReason
from pki import schedule
from pki.web.app import create_public_app
from pki.web.fetched import MAX_AGE
from pki.web.ocsp import LONGEST_PATH, REQUEST_TYPE, RESPONSE_TYPE
from renewers.inventory import issued
from renewers.models import Tracked
from tests import rig
from tests.ca.asking import ca_of, judged, request_about
from tests.pki.conftest import World

GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED
POSTED = {"Content-Type": REQUEST_TYPE}


@pytest.fixture(params=["tls", "plain"])
def anybody(request: pytest.FixtureRequest, world: World) -> httpx.Client:
    """A stranger at either listener."""
    return world.as_(app=None if request.param == "tls" else create_public_app(world.product))


def about(world: World, serial: int | None = None) -> bytes:
    """A request about a new certificate, or about this one."""
    issued = rig.parsed(rig.issue(world.installation))
    return request_about(issued if serial is None else serial, ca_of(world.installation))


def verified(world: World, answer: httpx.Response, request: bytes) -> ocsp.OCSPResponse:
    """What it says, if it may be believed."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, RESPONSE_TYPE)
    serial = ocsp.load_der_ocsp_request(request).serial_number
    return judged(answer.content, ca_of(world.installation), serial)


def escaped(request: bytes) -> str:
    """As RFC 6960 appendix A.1 has it."""
    return quote(b64encode(request), safe="")


def found_with(request: bytes) -> dict[str, str]:
    """The ways in which clients put a request into a path, all of which were seen somewhere."""
    plain = b64encode(request).decode()
    return {
        "escaped": escaped(request),
        "bare": plain,
        "pluses as spaces": plain.replace("+", "%20"),
        "for URLs": urlsafe_b64encode(request).decode(),
        "without padding": plain.rstrip("="),
        "a slash too many": f"/{plain}",
        "in lines": "%0A".join(plain[place : place + 64] for place in range(0, len(plain), 64)),
        "in small letters": quote(plain, safe="").replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d"),
        "with a query behind it": f"{plain}?a=b",
    }


def test_every_way_to_ask_gets_the_same_answer(world: World, anybody: httpx.Client) -> None:
    """By POST, and by GET however the path is written; of base64 with all of its letters."""
    request = next(one for one in iter(lambda: about(world), None) if {43, 47} <= set(b64encode(one)))
    first = anybody.post("/ocsp", content=request, headers=POSTED)
    assert verified(world, first, request).certificate_status is GOOD
    for what, path in found_with(request).items():
        answer = anybody.get(f"/ocsp/{path}")
        assert (answer.status_code, answer.content) == (200, first.content), what
    assert anybody.post("/ocsp/", content=request).content == first.content, "an older client says no type"


def test_caches_are_told_what_they_may(world: World, anybody: httpx.Client) -> None:
    """For minutes, with a strong tag, and never beyond the end of the answer (RFC 5019 section 6.2)."""
    request, now = about(world), clock.now()
    with clock.pinned(now):
        answer = anybody.get(f"/ocsp/{escaped(request)}")
        said = verified(world, answer, request)
    dates = {name: parsedate_to_datetime(answer.headers[name]) for name in ("date", "last-modified", "expires")}
    assert dates == {
        "date": now,
        "last-modified": said.this_update_utc,
        "expires": now + timedelta(seconds=MAX_AGE),
    }
    assert answer.headers["cache-control"] == f"public, max-age={MAX_AGE}, no-transform, must-revalidate"
    again = anybody.get(f"/ocsp/{escaped(request)}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    other = anybody.get(f"/ocsp/{escaped(request)}", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200
    head = anybody.head(f"/ocsp/{escaped(request)}")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))


def test_what_no_cache_may_keep(world: World, anybody: httpx.Client) -> None:
    """Answers with a nonce, about what is unknown, and what is not signed."""
    issued, issuer = rig.parsed(rig.issue(world.installation)), ca_of(world.installation)
    for request in (request_about(issued, issuer, nonce=bytes(32)), request_about(4711, issuer), b"noise"):
        answer = anybody.get(f"/ocsp/{escaped(request)}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert {"etag", "expires"} & set(answer.headers) == set()


def test_a_revocation_is_answered_within_a_second(world: World, anybody: httpx.Client) -> None:
    """Though the answer was kept a moment ago."""
    revoked = rig.issue(world.installation)
    request = request_about(rig.parsed(revoked), ca_of(world.installation))
    before = anybody.get(f"/ocsp/{escaped(request)}")
    assert verified(world, before, request).certificate_status is GOOD
    revocation.revoke(world.installation, rig.OPERATOR, revoked.serial, RevocationReason.SUPERSEDED)
    world.product.responder._fresh_until -= FRESH_FOR
    after = anybody.get(f"/ocsp/{escaped(request)}", headers={"If-None-Match": before.headers["etag"]})
    assert verified(world, after, request).certificate_status is REVOKED


def test_what_is_no_ocsp_request_is_refused(world: World, anybody: httpx.Client) -> None:
    """By an HTTP status: nothing to read, too much of it, called something else, by another method."""
    refused = {
        404: anybody.get("/ocsp"),
        413: anybody.post("/ocsp", content=bytes(9000), headers=POSTED),
        400: anybody.post("/ocsp", content=about(world), headers={"Content-Type": "application/json"}),
        405: anybody.put("/ocsp", content=about(world), headers=POSTED),
    }
    assert {status: answer.status_code for status, answer in refused.items()} == {status: status for status in refused}
    assert anybody.get(f"/ocsp/{'A' * (LONGEST_PATH + 1)}").status_code == 413
    assert anybody.post("/ocsp/AAAA", content=b"", headers=POSTED).status_code == 405
    assert anybody.get("/ocsps").status_code == 404
    for noise in ("!", "AAAA", "%00", "=", "%FF%FE"):
        answer = anybody.get(f"/ocsp/{noise}")
        assert (answer.status_code, answer.content) in ((200, encoding.MALFORMED), (404, answer.content)), noise


def test_what_nobody_expected_is_an_answer_too(world: World, anybody: httpx.Client) -> None:
    """In words that clients understand; the log has the rest."""

    def broken(_request: bytes) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.product.responder, "answer", broken)
        answer = anybody.post("/ocsp", content=about(world), headers=POSTED)
    assert (answer.status_code, answer.content) == (200, encoding.INTERNAL_ERROR)


def test_strangers_who_ask_too_much_are_told_to_try_later(
    world: World, anybody: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is answered all the same."""
    request, other = about(world), about(world)
    assert verified(world, anybody.post("/ocsp", content=request, headers=POSTED), request)
    monkeypatch.setattr("pki.web.ocsp.MOST_WAITING", 0)
    assert anybody.post("/ocsp", content=request, headers=POSTED).status_code == 200
    answer = anybody.post("/ocsp", content=other, headers=POSTED)
    assert (answer.content, answer.headers["cache-control"]) == (encoding.TRY_LATER, "no-store")


def test_what_signs_is_in_nobodys_inventory(world: World) -> None:
    """It follows itself and has an alarm of its own; no owner is written to because it ends."""
    request = about(world)
    world.nobody.post("/ocsp", content=request, headers=POSTED)
    issued.catch_up(world.product.lifecycle)
    with world.installation.store.read() as connection:
        shown = set(connection.execute(select(col(Tracked.shown_as))).scalars())
    assert shown
    assert [name for name in shown if "OCSP" in name] == []


def test_answers_are_counted(world: World, anybody: httpx.Client) -> None:
    """By what they say, and by whether they were there before."""
    request = about(world)
    for _ in range(3):
        anybody.post("/ocsp", content=request, headers=POSTED)
    anybody.post("/ocsp", content=b"noise", headers=POSTED)
    text = world.local.get("/metrics").text
    for line in (
        'certwright_ocsp_answers_total{status="good"} 3.0',
        'certwright_ocsp_answers_total{status="malformed"} 1.0',
        "certwright_ocsp_answers_held_total 2.0",
        "certwright_ocsp_answers_made_total 2.0",
        'certwright_ocsp_signer_seconds_left{authority="issuing-1"}',
    ):
        assert line in text


def test_the_schedule_follows_signers_and_says_when_it_cannot(world: World) -> None:
    """While nobody asks, too; and at an installation that nobody asks, it makes none."""
    import structlog

    from ca.errors import KeyUnavailable

    schedule.keep_responders(world.product)
    signers = world.product.responder.signers
    assert signers.ends == {}
    world.nobody.post("/ocsp", content=about(world), headers=POSTED)
    (first,) = signers.ends.values()
    with clock.pinned(clock.now() + timedelta(days=8)), pytest.MonkeyPatch.context() as patch:

        def full(label: str, key: object) -> None:
            raise KeyUnavailable("the disk is full")

        patch.setattr(world.installation.keys, "put", full)
        with structlog.testing.capture_logs() as logs:
            schedule.keep_responders(world.product)
        assert [(one["event"], one["authority"]) for one in logs] == [("ocsp-signer", "issuing-1")]
        assert set(world.product.lifecycle.status_trouble()) == {"issuing-1"}, "the watch raises an alarm"
        patch.undo()
        patch.setattr("ca.ocsp.signer.AGAIN_AFTER", 0.0)
        with structlog.testing.capture_logs() as logs:
            schedule.keep_responders(world.product)
        assert logs == []
        (second,) = signers.ends.values()
    assert second > first


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=120), st.booleans(), st.sampled_from(["GET", "POST", "HEAD", "PATCH"]))
def test_whatever_is_sent_there_is_an_answer(world: World, noise: bytes, is_text: bool, method: str) -> None:
    """OCSP's, or an HTTP status that says that the request is wrong."""
    path = quote(noise if is_text else b64encode(noise), safe="")
    answer = world.nobody.request(method, f"/ocsp/{path}", content=noise if method == "POST" else None)
    if answer.status_code != 200:
        assert 400 <= answer.status_code < 500
    elif method != "HEAD":
        assert ocsp.load_der_ocsp_response(answer.content).response_status is not ocsp.OCSPResponseStatus.INTERNAL_ERROR


def test_no_address_has_all_of_what_is_signed(world: World) -> None:
    """Signed for one address so many at once: then it is told to try later, and still gets what is there already."""
    limits = world.product.settings.ocsp.model_copy(update={"live_per_second": 0.001, "live_burst": 2})
    frozen = world.product.settings
    world.product.settings = frozen.model_copy(update={"ocsp": limits})
    anybody = world.as_(app=create_public_app(world.product))
    asked = [about(world) for _ in range(3)]
    first, second, third = (anybody.post("/ocsp", content=one, headers=POSTED) for one in asked)
    assert verified(world, first, asked[0]).certificate_status is GOOD
    assert verified(world, second, asked[1]).certificate_status is GOOD
    assert (third.status_code, third.content) == (200, encoding.TRY_LATER)
    assert third.headers["cache-control"] == "no-store"
    again = anybody.post("/ocsp", content=asked[0], headers=POSTED)
    assert again.content == first.content
    assert world.product.metrics.refused.labels("rate-limited")._value.get() == 1
