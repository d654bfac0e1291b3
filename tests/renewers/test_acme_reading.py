"""Reading what a CA says: times, waits, problems, identifiers of certificates, links. For any input at all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import CertwrightError, IssuerRefusal, IssuerUnavailable
from renewers.issuers.acme.problems import as_error, plain, read_problem
from renewers.issuers.acme.renewal_info import certificate_id
from renewers.issuers.acme.replies import LONGEST_WAIT, Document, Reply, read_retry_after, read_time
from tests import rig

NOW = 1_900_000_000
ACME = "urn:ietf:params:acme:error:"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Tokyo", "Asia/Kolkata"])
def time_zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """This process lives in some time zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


def test_a_wait_is_the_same_in_every_time_zone(time_zone: str) -> None:
    """A date as a wait, in the three forms of RFC 9110 and with an offset: 60 seconds are 60 seconds (certbot#9319)."""
    moment = datetime.fromtimestamp(NOW + 60, UTC)
    forms = [
        format_datetime(moment, usegmt=True),
        moment.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        moment.strftime("%a %b %d %H:%M:%S %Y"),
        format_datetime(moment.astimezone(tz=datetime.now(UTC).astimezone().tzinfo)),
        (moment + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S +0100"),
        moment.strftime("%a, %d %b %Y %H:%M:%S -0000"),
    ]
    assert [read_retry_after(form, NOW) for form in forms] == [60] * len(forms), time_zone


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((None, None), ("", None), ("soon", None), ("0", 0), (" 120 ", 120), ("-1", None), ("1.5", None)),
        *(("999999999", LONGEST_WAIT), ("9" * 5000, None), ("١٢٠", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0)),
        *(("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT), ("Fri, 99 Foo 2030 25:61:61 GMT", None)),
    ],
)
def test_waits(value: str | None, seconds: int | None) -> None:
    """Numbers and dates, bounded; what is neither is no wait."""
    assert read_retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_any_wait_is_bounded(value: str) -> None:
    """Whatever the header says."""
    found = read_retry_after(value, NOW)
    assert found is None or 0 <= found <= LONGEST_WAIT


@given(json_values)
def test_any_time_is_a_time_or_none(value: object) -> None:
    """An RFC 3339 time has a zone; all else is none."""
    assert read_time(value) is None
    assert read_time("2030-01-01T00:00:00Z") == read_time("2030-01-01T01:00:00.5+01:00") == 1893456000


@given(st.text(), st.integers(5, 300))
def test_words_of_strangers(text: str, limit: int) -> None:
    """One printable line, never longer than allowed."""
    shown = plain(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


@given(json_values, st.integers(100, 999), st.none() | st.integers(0, 10**6))
def test_any_problem_is_an_error_of_ours(document: object, status: int, wait: int | None) -> None:
    """However odd a problem document is."""
    error = as_error(read_problem(document), "a CA", status, wait)
    assert isinstance(error, IssuerRefusal | IssuerUnavailable)
    assert error.message.isprintable()
    assert len(error.message) < 1000


@pytest.mark.parametrize(
    ("kind", "status", "error", "code"),
    [
        *(
            ("rateLimited", 429, IssuerUnavailable, "rate-limited"),
            ("rateLimited", 403, IssuerUnavailable, "rate-limited"),
        ),
        *(
            ("serverInternal", 500, IssuerUnavailable, "issuer-unavailable"),
            ("", 503, IssuerUnavailable, "issuer-unavailable"),
        ),
        *(("badCSR", 400, IssuerRefusal, "issuer-refused"), ("caa", 403, IssuerRefusal, "issuer-refused")),
        *(
            ("rejectedIdentifier", 400, IssuerRefusal, "issuer-refused"),
            ("unauthorized", 403, IssuerRefusal, "issuer-refused"),
        ),
        *(
            ("userActionRequired", 403, IssuerRefusal, "issuer-refused"),
            ("invalidProfile", 400, IssuerRefusal, "issuer-refused"),
        ),
        *(
            ("externalAccountRequired", 401, IssuerRefusal, "issuer-refused"),
            ("orderNotReady", 403, IssuerUnavailable, "not-now"),
        ),
        *(
            ("caa", 503, IssuerUnavailable, "issuer-unavailable"),
            ("newlyInvented", 400, IssuerRefusal, "issuer-refused"),
        ),
        *(("", 302, IssuerUnavailable, "not-now"), ("dns", 400, IssuerUnavailable, "not-now")),
    ],
)
def test_problems_by_their_type(kind: str, status: int, error: type[CertwrightError], code: str) -> None:
    """What a person has to mend is a refusal; what time mends is not; limits have a code of their own."""
    found = as_error(read_problem({"type": f"{ACME}{kind}", "detail": "because"}), "a CA", status, 7)
    assert type(found) is error
    assert found.code == code
    assert "because" in found.message
    if isinstance(found, IssuerUnavailable):
        assert found.retry_after == 7 or code == "not-now"


def test_the_parts_of_a_problem_count() -> None:
    """A compound problem is as permanent as its worst part, and names whom each is about."""
    part = {"type": f"{ACME}rejectedIdentifier", "detail": "no", "identifier": {"type": "dns", "value": "a.example"}}
    found = as_error(read_problem({"type": f"{ACME}compound", "subproblems": [part]}), "a CA", 400, None)
    assert isinstance(found, IssuerRefusal)
    assert "a.example: rejectedIdentifier: no" in found.message


@given(st.dictionaries(st.sampled_from(["status", "finalize", "identifiers", "expires", "identifier"]), json_values))
def test_any_document_is_read_or_refused(fields: dict[str, object]) -> None:
    """Every reader of a field gives what it says or an `IssuerUnavailable`, whatever stands there."""
    reply = Reply("a CA: our order", 200, {}, json.dumps(fields).encode())
    found = reply.document()
    readers = [
        lambda: found.text("status", 40),
        lambda: found.optional("finalize"),
        lambda: found.texts("identifiers", 3),
        lambda: [each.name() for each in found.documents("identifiers", 3)],
        lambda: found.document("identifier").name(),
        lambda: found.time("expires"),
        lambda: found.problem("status"),
    ]
    for reader in readers:
        try:
            reader()
        except IssuerUnavailable as error:
            shown = error.message
            assert shown.isprintable()
            assert len(shown) < 400


def test_links() -> None:
    """Every `alternate` link, quoted or not, and no other; a limited number."""
    header = (
        '<https://a/1>;rel="alternate", <https://a/d>;rel="index", <https://a/2>; rel=alternate, <https://a/u>;rel="up"'
    )
    assert Reply("", 200, {"Link": header}, b"").alternates == ["https://a/1", "https://a/2"]
    assert len(Reply("", 200, {"Link": ", ".join(['<https://a/1>;rel="alternate"'] * 500)}, b"").alternates) == 10


@given(st.text(alphabet='<>;,="rel alternate/:', max_size=300))
def test_any_link_header(header: str) -> None:
    """Never more than a few, never an error."""
    assert len(Reply("", 200, {"Link": header}, b"").alternates) <= 10


def certificate(*, serial: int, authority: bytes | None) -> bytes:
    """A certificate with that serial number and that authority key identifier."""
    key = rig.pooled_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(rig.common_name("x"))
        .issuer_name(rig.common_name("x"))
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 86400, UTC))
    )
    if authority is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(authority, None, None), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def test_what_a_certificate_is_known_by() -> None:
    """The example of RFC 9773 section 4.1, whose serial number has a sign octet; without an authority there is none."""
    authority = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    assert certificate_id(certificate(serial=0x87654321, authority=authority)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert certificate_id(certificate(serial=0x7F, authority=b"\x01")) == "AQ.fw"
    assert certificate_id(certificate(serial=0x80, authority=b"\x01")) == "AQ.AIA"
    assert certificate_id(certificate(serial=1, authority=None)) is None
    assert certificate_id(b"rubbish") is None


def test_a_name_is_one_of_ours() -> None:
    """Identifiers become checked names; what no certificate can carry is refused on sight."""
    assert str(Document("a CA", {"type": "ip", "value": "::0001"}).name()) == "ip:::1"
    for odd in ({"type": "dns", "value": "a b"}, {"type": "uri", "value": "https://a/"}, {"type": "dns"}, {}):
        with pytest.raises(IssuerUnavailable):
            Document("a CA", odd).name()
