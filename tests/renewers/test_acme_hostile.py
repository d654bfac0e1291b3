"""A CA that lies: at every step it answers nonsense, too much, too slowly, or with somebody else's address.

It must be refused with a plain reason, in time; nothing else may be connected to, run, written or waited for.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ca.errors import CertwrightError, IssuerRefusal, IssuerUnavailable
from ca.keys.algorithms import KeyType
from ca.store import Store, open_store
from ca.x509.names import Name
from renewers.issuers import budget
from renewers.issuers.acme import AcmeConfig, AcmeIssuer
from tests.acme_rig import SEALER, Remembered, Tokens, names_of, wanted
from tests.hostile_ca import TOKEN, Answer, HostileCa, Spoil, hostile_ca

KEY = KeyType.P256.generate()
STEPS = ("directory", "nonce", "account", "new-order", "authz", "challenge", "order", "finalize", "cert")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileCa]:
    """The CA."""
    with hostile_ca(tmp_path_factory.mktemp("hostile")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for all tests here."""
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('store')}/certwright.db")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca: HostileCa) -> Iterator[None]:
    """No process, no file in the working directory, no visitor at the decoy, whatever the CA said."""

    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"a process would have been run: {arguments}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.chdir(tmp_path)
    ca.reset()
    yield
    assert list(tmp_path.iterdir()) == []
    assert ca.visitors == []


def issuer(ca: HostileCa, store: Store, name: str, solver: Tokens | None = None, **choices: Any) -> AcmeIssuer:
    """An issuer that asks it."""
    given = {"name": name, "directory": ca.directory, "ca_file": ca.ca_file}
    return AcmeIssuer(AcmeConfig(**{**given, **choices}), store=store, sealer=SEALER, solvers=[solver or Tokens()])


_fresh = iter(range(10**6))


def attempt(ca: HostileCa, store: Store, step: str, spoil: Spoil, *, patience: float = 20) -> CertwrightError | None:
    """One attempt with a spoilt step; the error that it came to. Whatever happens, it is one of ours, and in time."""
    ca.reset()
    ca.spoil = {step: spoil}
    solver, memory = Tokens(), Remembered()
    began = time.monotonic()
    name = f"ca-{next(_fresh)}" if step in ("account", "nonce") else "known"
    try:
        made = issuer(ca, store, name, solver)
        obtained = made.obtain(wanted("api.example.com", key=KEY, patience=patience), memory)
    except (IssuerRefusal, IssuerUnavailable) as error:
        message = f"{error.message} {error.hint or ''}"
        assert message.isprintable()
        assert len(message) < 1000
        assert "Traceback" not in message
        outcome: CertwrightError | None = error
    else:
        assert names_of(obtained) == {"api.example.com"}
        outcome = None
    assert time.monotonic() - began < patience + 10
    assert solver.answers == {}
    assert ca.visitors == []
    return outcome


def test_it_can_behave(ca: HostileCa, shared: Store) -> None:
    """Unspoilt, it issues: what fails below fails for the reason given there."""
    assert attempt(ca, shared, "none", lambda _answer: None) is None


def body(octets: bytes, content_type: str = "application/json", status: int | None = None) -> Spoil:
    """That body instead."""

    def spoil(answer: Answer) -> None:
        answer.body, answer.status = octets, status or answer.status
        answer.headers["Content-Type"] = content_type

    return spoil


def packed(answer: Answer) -> None:
    """Something small that would be something large."""
    import gzip

    answer.body = gzip.compress(b"[" * (1 << 24))
    answer.headers["Content-Encoding"] = "gzip"


NONSENSE: dict[str, Spoil] = {
    "empty": body(b""),
    "no JSON": body(b"<html>Welcome to the captive portal</html>", "text/html"),
    "a list": body(b"[]"),
    "null": body(b"null"),
    "deep": body(b'{"status":' + b"[" * 500_000),
    "a number without end": body(b'{"status":' + b"9" * 900_000 + b"}"),
    "not UTF-8": body(b'{"status":"\xff\xfe"}'),
    "surrogates": body(b'{"status":"\\ud800", "detail": "\\udfff"}'),
    "huge": body(b"x" * (2 << 20)),
    "packed": packed,
    "an error page": body(b"<html>" + b"\x1b[31m$(reboot)\r\n" * 1000, "text/html", 502),
    "no status at all": body(b"", status=999),
}
TELLING = ("no JSON", "null", "deep", "huge")


@pytest.mark.parametrize(
    ("step", "kind"),
    [(step, kind) for step in ("directory", "new-order") for kind in NONSENSE]
    + [(step, kind) for step in ("account", "authz", "order", "finalize", "cert") for kind in TELLING],
)
def test_nonsense_is_refused(ca: HostileCa, shared: Store, step: str, kind: str) -> None:
    """Wherever it comes, and of whatever kind it is."""
    patience = 0.8 if step == "order" else 20  # an outage while waiting is waited out
    assert isinstance(attempt(ca, shared, step, NONSENSE[kind], patience=patience), IssuerUnavailable)


@pytest.mark.parametrize("step", STEPS)
def test_no_redirect_is_followed(ca: HostileCa, shared: Store, step: str) -> None:
    """To the decoy, to itself, to a file: no answer leads anywhere."""
    decoy = f"127.0.0.1:{ca.decoy}"
    for status, target in (
        (301, f"https://{decoy}/"),
        (308, f"http://{decoy}/"),
        (302, ca.directory),
        (307, "file:///x"),
    ):

        def spoil(answer: Answer, target: str = target, status: int = status) -> None:
            answer.status, answer.headers["Location"] = status, target

        error = attempt(ca, shared, step, spoil, patience=0.4 if step == "order" else 20)
        if step == "order" and not ca.asked["order"]:  # a slow machine did not get there in so short a time
            error = attempt(ca, shared, step, spoil, patience=10)
        if step == "challenge":  # the CA was asked to look, and what it then says of the name is what counts
            assert error is None
        else:
            assert error is not None
            assert "redirect" in error.message


def urls(ca: HostileCa) -> list[Any]:
    """Places where a CA has no business sending us, and things that are no places."""
    good, decoy = f"127.0.0.1:{ca.port}", f"127.0.0.1:{ca.decoy}"
    return [
        *(f"https://{decoy}/x", f"http://{decoy}/x", f"http://{good}/x", f"https://{good}@{decoy}/x"),
        *(f"https://{decoy}#@{good}/x", f"https://{decoy}\\@{good}/x", f"https://{good}\\@{decoy}/x", f"//{decoy}/x"),
        *(f"https://{good}/x\r\nHost: {decoy}", f"https://{good}/x\n", f"https://{good}/\x00", f" https://{good}/x"),
        *(f"https://localhost:{ca.port}/x", "https://169.254.169.254/latest/meta-data/", "file:///etc/passwd"),
        *("https://[::ffff:127.0.0.1]/x", f"https://127.1:{ca.port}/x", f"https://2130706433:{ca.port}/x"),
        *("javascript:alert(1)", "/relative", "", f"https://{good}/{'x' * 3000}", f"HTTPS://{good}/x", 5, True, [], {}),
        *(
            f"https://{good}:443/x",
            f"https://127.0.0.1:0{ca.port}1/x",
            f"https://{good}/é",
            f"https://exämple:{ca.port}/",
        ),
    ]


PLACES = [
    *(("directory", field) for field in ("newNonce", "newAccount", "newOrder", "keyChange", "renewalInfo")),
    *(("account", "Location"), ("new-order", "Location"), ("new-order", "finalize"), ("new-order", "authorizations")),
    *(("order", "finalize"), ("finalize", "certificate"), ("authz", "url")),
]


@pytest.mark.parametrize(("step", "place"), PLACES)
def test_it_cannot_send_us_elsewhere(ca: HostileCa, shared: Store, step: str, place: str) -> None:
    """Every URL that it hands out at any step is held against the pin before it is used: all of them at one step."""
    for url in urls(ca) if place == "newOrder" else urls(ca)[len(place) % 3 :: 3]:
        if place == "Location" and not (
            isinstance(url, str) and url.isascii() and url.isprintable() and url.strip() == url
        ):
            continue  # a header cannot hold it

        def spoil(answer: Answer, url: Any = url) -> None:
            if place == "Location":
                answer.headers["Location"] = url
            elif place == "authorizations":
                answer.put(authorizations=[url])
            elif place == "url":
                answer.put(challenges=[{**answer.document["challenges"][0], "url": url}])
            else:
                answer.put(**{place: url})

        error = attempt(ca, shared, step, spoil)
        assert error is not None, url
        if isinstance(url, str) and url.startswith("https://127.0.0.1:") and url.isprintable() and len(url) < 2000:
            assert isinstance(error, IssuerRefusal), url
            assert error.code == "foreign-url"


TOKENS: list[Any] = [
    *("../../../../etc/passwd", "..%2f..%2fetc%2fpasswd_____", "a" * 21, "a" * 129, "$(touch owned)_______________"),
    *("`touch owned`_______________", "; touch owned ;_____________", "token\x00tokentokentokentoken", "", " " * 30),
    *(
        "token\ntokentokentokentokentoken",
        f"{TOKEN}\n",
        f"{TOKEN}=",
        f"{TOKEN}/..",
        "токентокентокентокентокен",
        None,
        5,
        [TOKEN],
    ),
]


@pytest.mark.parametrize("token", TOKENS, ids=repr)
def test_a_token_is_a_token(ca: HostileCa, shared: Store, token: Any) -> None:
    """It ends in a path of ours and a record of ours: only letters, digits, hyphen, underscore, 22 to 128 of them."""

    def spoil(answer: Answer) -> None:
        answer.put(challenges=[{**answer.document["challenges"][0], "token": token}])

    assert isinstance(attempt(ca, shared, "authz", spoil), IssuerUnavailable)
    assert ca.asked["challenge"] == 0


AUTHORIZATIONS: dict[str, dict[str, Any]] = {
    "another name": {"identifier": {"type": "dns", "value": "victim.example"}},
    "a wildcard of it": {"wildcard": True},
    "a path": {"identifier": {"type": "dns", "value": "../../x"}},
    "no name": {"identifier": None},
    "a list": {"identifier": []},
    "an odd kind": {"identifier": {"type": "dns\n", "value": "api.example.com"}},
    "no status": {"status": None},
    "no challenges": {"challenges": []},
    "challenges as text": {"challenges": "http-01"},
    "a hundred challenges": {"challenges": [{"type": "http-01"}] * 100},
    "a challenge without anything": {"challenges": [{}]},
    "unknown challenges": {"challenges": [{"type": "smoke-01", "url": "https://elsewhere/", "token": "../"}]},
    "valid at once": {"status": "deactivated"},
}


@pytest.mark.parametrize("kind", AUTHORIZATIONS)
def test_it_has_us_prove_nothing_but_what_was_ordered(ca: HostileCa, shared: Store, kind: str) -> None:
    """No answer is put in place for a name that we did not order, nor for a challenge that makes no sense."""
    solver = Tokens()
    ca.spoil = {"authz": lambda answer: answer.put(**AUTHORIZATIONS[kind])}
    with pytest.raises((IssuerRefusal, IssuerUnavailable)):
        issuer(ca, shared, f"odd-{kind.replace(' ', '-')}", solver).obtain(
            wanted("api.example.com", key=KEY, patience=2), Remembered()
        )
    assert solver.seen == []
    assert ca.asked["challenge"] == 0


class Willing(Tokens):
    """A solver that would answer anything."""

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize(("name", "kind"), [("*.api.example.com", "http-01"), ("127.0.0.1", "dns-01")])
def test_the_rules_are_not_left_to_others(ca: HostileCa, shared: Store, name: str, kind: str) -> None:
    """Neither a wildcard over HTTP nor an address in the DNS, even if the CA offers it and a solver would do it."""

    def spoil(answer: Answer) -> None:
        answer.put(challenges=[{**answer.document["challenges"][0], "type": kind}])

    ca.spoil = {"authz": spoil}
    solver = Willing(kind=kind)
    with pytest.raises(IssuerRefusal, match=f"proved by {kind}, and nothing here can do that"):
        issuer(ca, shared, "known", solver).obtain(wanted(name, key=KEY, patience=3), Remembered())
    assert solver.seen == []


@pytest.mark.parametrize("step", ["new-order", "order"])
@pytest.mark.parametrize(
    "change",
    [
        {"identifiers": [{"type": "dns", "value": "victim.example"}]},
        {"identifiers": []},
        {"status": "done"},
        {"status": ["valid"]},
        {"authorizations": ["x"] * 1000},
        {"finalize": None},
    ],
    ids=str,
)
def test_an_order_is_what_was_ordered(ca: HostileCa, shared: Store, step: str, change: dict[str, Any]) -> None:
    """Other names, odd states, too many authorizations: not our order."""
    error = attempt(ca, shared, step, lambda answer: answer.put(**change))
    if change == {"identifiers": []}:  # it need not repeat them; the certificate will be looked at
        assert error is None
    else:
        assert isinstance(error, IssuerUnavailable)


PROBLEMS = {
    "a novel": "x" * 200_000,
    "an escape": "\x1b]0;owned\x07\x1b[2J evil",
    "a command": "$(touch owned) `touch owned` && touch owned\r\nSet-Cookie: x",
    "right to left": "\u202egnp.exe\u2066\u200b",
    "a NUL": "a\x00b",
    "a surrogate": "\ud800",
    "a list": ["detail"],
    "a number": 7,
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_its_words_are_made_harmless(ca: HostileCa, shared: Store, kind: str) -> None:
    """A problem's text is shown on one printable line of bounded length, whatever it was."""
    document = {
        "type": "urn:ietf:params:acme:error:rejectedIdentifier",
        "detail": PROBLEMS[kind],
        "title": PROBLEMS[kind],
        "identifier": {"type": "dns", "value": PROBLEMS[kind]},
        "subproblems": [{"type": PROBLEMS[kind], "detail": PROBLEMS[kind], "subproblems": [{}]}]
        * (1 if kind == "a novel" else 1000),
    }
    octets = json.dumps(document).encode()
    assert len(octets) < 1 << 20
    for step in ("account", "new-order", "order", "finalize", "cert"):
        error = attempt(ca, shared, step, body(octets, "application/problem+json", 400))
        assert error is not None
        assert len(error.message) < 800


def slow_head(write: Callable[[bytes], None]) -> None:
    """A header, a byte at a time, for longer than anybody waits."""
    write(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(400):
        write(b"x")
        time.sleep(0.05)


def slow_body(write: Callable[[bytes], None]) -> None:
    """The same with the body."""
    write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(400):
        write(b" ")
        time.sleep(0.05)


def silent(_write: Callable[[bytes], None]) -> None:
    """Nothing at all."""
    time.sleep(20)


def endless_head(write: Callable[[bytes], None]) -> None:
    """Headers without end."""
    write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        write(b"X-%d: y\r\n" % number * 100)


def endless_line(write: Callable[[bytes], None]) -> None:
    """The size of a chunk, in more digits than there is memory."""
    write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(2000):
        write(b"0" * 65536)


def endless_body(write: Callable[[bytes], None]) -> None:
    """A body without end."""
    write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(2000):
        write(b" " * 65536)


def interim(write: Callable[[bytes], None]) -> None:
    """Interim answers without end."""
    for _ in range(100_000):
        write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def cut(write: Callable[[bytes], None]) -> None:
    """Half of an answer."""
    write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


def no_http(write: Callable[[bytes], None]) -> None:
    """Another protocol."""
    write(b"220 smtp.example ESMTP\r\n")


def negative(write: Callable[[bytes], None]) -> None:
    """A length that is none."""
    write(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n")


STALLING = (slow_head, slow_body, silent)
RAW = (*STALLING, endless_head, endless_line, endless_body, interim, cut, no_http, negative)


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: raw.__name__)
def test_it_can_neither_stall_nor_drown_us(ca: HostileCa, shared: Store, raw: Callable[..., None]) -> None:
    """Time and bytes are counted beneath HTTP, where nothing escapes: at the first step as at a later one."""
    for step in ("directory", "new-order"):

        def spoil(answer: Answer) -> None:
            answer.raw = raw

        error = attempt(ca, shared, step, spoil, patience=0.6 if raw in STALLING else 20)
        assert isinstance(error, IssuerUnavailable)
        if raw in (interim, endless_body):  # by its size: half a second of it would already be a lot
            assert "more than 1048576 bytes" in error.message


def test_a_certificate_for_somebody_else(ca: HostileCa, shared: Store) -> None:
    """A certificate for another key is not taken, nor a thousand of them, nor a private key."""
    ca.reset()
    other = Remembered()
    issuer(ca, shared, "first").obtain(wanted("api.example.com", patience=20), other)
    foreign = ca.pem
    for octets in (foreign, foreign * 1000, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        error = attempt(ca, shared, "cert", body(octets, "application/pem-certificate-chain"))
        assert isinstance(error, IssuerUnavailable)


def test_a_signature_is_not_asked_for_twice(ca: HostileCa, shared: Store) -> None:
    """However often fetching fails, there is one order and one certificate, and in the end it is ours."""
    made, memory, asked = issuer(ca, shared, "once"), Remembered(), wanted("api.example.com", key=KEY, patience=20)
    issued = ca.issued
    for octets in (b"", b"rubbish", b"{}"):
        ca.spoil = {"cert": body(octets, "text/plain")}
        with pytest.raises(IssuerUnavailable):
            made.obtain(asked, memory)
    ca.spoil = {}
    assert names_of(made.obtain(asked, memory)) == {"api.example.com"}
    assert (ca.issued - issued, ca.asked["new-order"], ca.asked["finalize"]) == (1, 1, 1)
    assert [call.partition(" ")[0] for call in memory.calls] == ["keep", "commit"]


def test_alternates_are_within_reach_too(ca: HostileCa, shared: Store) -> None:
    """A link to another chain elsewhere is passed over: the chain at hand is taken."""

    def spoil(answer: Answer) -> None:
        links = [
            f'<{url}>;rel="alternate"'
            for url in urls(ca)
            if isinstance(url, str) and url.isascii() and url.isprintable()
        ]
        answer.headers["Link"] = ", ".join(links)

    ca.spoil = {"cert": spoil}
    made = issuer(ca, shared, "links", preferred_chain="Another Root")
    assert names_of(made.obtain(wanted("api.example.com", patience=20), Remembered())) == {"api.example.com"}


@pytest.mark.parametrize("kind", TELLING)
def test_nonsense_about_windows(ca: HostileCa, shared: Store, kind: str) -> None:
    """A window is read as carefully as everything else."""
    certificate = issuer(ca, shared, "windows").obtain(wanted("api.example.com", patience=20), Remembered()).certificate
    ca.spoil = {"window": NONSENSE[kind]}
    with pytest.raises(IssuerUnavailable) as refused:
        issuer(ca, shared, "windows").window(certificate, None)
    assert refused.value.message.isprintable()


def test_odd_windows(ca: HostileCa, shared: Store) -> None:
    """Windows that end before they begin, begin too late, or say no zone are none; links are http or https alone."""
    made = issuer(ca, shared, "windows")
    certificate = made.obtain(wanted("api.example.com", patience=20), Remembered()).certificate
    day = "2030-01-01T00:00:00"
    odd = [("x", "y"), (f"{day}Z", f"{day}Z"), (day, f"{day}Z"), (5, 6), (None, None), ("2030-01-01", "2030-01-02")]
    odd += [("9999-12-31T23:59:59Z", "9999-12-31T23:59:59+14:00"), (f"{day}Z", "2031-01-01T00:00:00Z")]
    for start, end in odd:
        ca.spoil = {"window": lambda answer, s=start, e=end: answer.put(suggestedWindow={"start": s, "end": e})}
        assert made.window(certificate, None) is None
    for link in (
        "javascript:alert(1)",
        "https://x/\n",
        "x" * 600,
        5,
        "http://",
        "https://[",
        "https://a b/",
        "ftp://x/",
    ):
        ca.spoil = {"window": lambda answer, link=link: answer.put(explanationURL=link)}
        window = made.window(certificate, None)
        assert window is not None
        assert window.explanation is None
    for said, meant in (("0", 60), ("1", 60), ("7200", 7200), ("99999999", 86400), ("soon", 21600), ("-5", 21600)):
        ca.spoil = {"window": lambda answer, said=said: answer.headers.update({"Retry-After": said})}
        window = made.window(certificate, None)
        assert window is not None
        assert window.poll_after == meant


def test_nonces_are_bounded(ca: HostileCa, shared: Store) -> None:
    """A nonce that is none, none at all, and one that is never good: refused, after a bounded number of tries."""
    for odd in ("é", "a b c", "", "=", "x" * 60_000):  # but for the last, it may even mean them
        error = attempt(ca, shared, "nonce", lambda answer, odd=odd: answer.headers.update({"Replay-Nonce": odd}))
    assert isinstance(error, IssuerUnavailable)
    refused = body(b'{"type":"urn:ietf:params:acme:error:badNonce"}', "application/problem+json", 400)
    error = attempt(ca, shared, "new-order", refused)
    assert error is not None
    assert "of its own nonces" in error.message
    assert ca.asked["new-order"] <= 24


@pytest.mark.parametrize("status", [429, 503])
def test_when_it_is_busy_it_says_until_when(ca: HostileCa, shared: Store, status: int) -> None:
    """`Retry-After` comes through at every step where nothing is waited for, as a number or as a date."""
    for step in ("directory", "account", "new-order", "finalize"):

        def spoil(answer: Answer) -> None:
            answer.status, answer.body, answer.headers["Retry-After"] = status, b"", "3600"

        error = attempt(ca, shared, step, spoil)
        assert isinstance(error, IssuerUnavailable)
        assert error.retry_after == 3600


def test_rate_limits_are_told_from_outages(ca: HostileCa, shared: Store) -> None:
    """A limit of ours says nothing about the CA's health: it has a code of its own."""
    octets = b'{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates already issued"}'
    error = attempt(ca, shared, "new-order", body(octets, "application/problem+json", 429))
    assert isinstance(error, IssuerUnavailable)
    assert error.code == "rate-limited"
    assert "too many certificates already issued" in error.message


def test_waiting_is_as_long_as_it_asks_and_not_longer(ca: HostileCa, shared: Store) -> None:
    """Polled after `Retry-After`; what would be after the deadline is not waited for, but said."""
    polls: list[float] = []

    def spoil(answer: Answer) -> None:
        if ca.asked["challenge"] and len(polls) < 3:
            polls.append(time.monotonic())
            if len(polls) < 3:
                answer.put(status="pending")
                answer.headers["Retry-After"] = "1"

    ca.spoil = {"authz": spoil}
    issuer(ca, shared, "patient").obtain(wanted("api.example.com", key=KEY, patience=60), Remembered())
    assert len(polls) == 3
    assert all(later - sooner >= 1 for sooner, later in pairwise(polls))

    def later(answer: Answer) -> None:
        if ca.asked["challenge"]:
            answer.put(status="pending")
            answer.headers["Retry-After"] = "86400"

    error = attempt(ca, shared, "authz", later)
    assert isinstance(error, IssuerUnavailable)
    assert (error.code, error.retry_after) == ("not-ready", 86400)


def test_a_hiccup_while_waiting_is_waited_out(ca: HostileCa, shared: Store) -> None:
    """An outage between two polls costs no validation: the answer stays in place until the CA has looked."""
    hiccups = iter([502, 503, 500])

    def spoil(answer: Answer) -> None:
        status = next(hiccups, None) if ca.asked["challenge"] else None
        if status is not None:
            answer.status, answer.body = status, b"oops"

    assert attempt(ca, shared, "authz", spoil) is None


def test_a_challenge_that_was_begun_is_not_begun_again(ca: HostileCa, shared: Store) -> None:
    """`processing` is answered and waited for; a complaint about one that is done is no obstacle."""

    def processing(answer: Answer) -> None:
        found = answer.document
        if ca.asked["authz"] == 1:
            answer.put(challenges=[{**found["challenges"][0], "status": "processing"}])
        else:
            answer.put(status="valid")
            ca.authz = "valid"

    assert attempt(ca, shared, "authz", processing) is None
    assert ca.asked["challenge"] == 0
    done = body(b'{"type":"urn:ietf:params:acme:error:malformed","detail":"already valid"}', status=400)
    assert attempt(ca, shared, "challenge", done) is None


def test_what_cannot_be_meant_is_refused_before_it_is_asked(ca: HostileCa, shared: Store) -> None:
    """Plain http, passwords in URLs, odd hosts, unknown challenges, keys that sign no requests, half a binding."""
    from ca.errors import Misconfigured
    from ca.secret import Secret

    for directory in (f"http://127.0.0.1:{ca.decoy}/", "https://user:pass@ca.example/", "ca.example", "https://ca/#x"):
        with pytest.raises(Misconfigured, match="is not a plain https URL"):
            issuer(ca, shared, "odd", directory=directory)
    odd: list[dict[str, Any]] = [{"also_hosts": ("a/b",)}, {"challenges": ("smoke-01",)}, {"eab_kid": "kid"}]
    odd += [{"account_key_type": KeyType.ED25519}, {"eab_key": Secret("QUJD")}]
    for choice in odd:
        with pytest.raises(Misconfigured):
            issuer(ca, shared, "odd", **choice)


def test_a_host_that_was_named_is_reached(ca: HostileCa, shared: Store) -> None:
    """`also_hosts` widens the pin by what a person has named, and by nothing else."""

    def spoil(answer: Answer) -> None:
        answer.put(newOrder=f"https://localhost:{ca.port}/new-order")

    ca.spoil = {"directory": spoil}
    wide = issuer(ca, shared, "wide", also_hosts=(f"localhost:{ca.port}",))
    assert names_of(wide.obtain(wanted("api.example.com", patience=20), Remembered())) == {"api.example.com"}


def test_an_order_costs_when_it_is_made_and_signed(ca: HostileCa, shared: Store) -> None:
    """New orders are spent when they are there, certificates when they are asked to be signed, each once."""
    limits = (budget.Limit("orders", 9, 60, "account"), budget.Limit("certificates", 9, 60, "registered-domain"))
    made, memory = issuer(ca, shared, "spender", limits=limits), Remembered()
    asked = wanted("api.example.com", key=KEY, patience=20)

    def oops(answer: Answer) -> None:
        answer.status, answer.body, ca.order = 500, b"oops", "ready"

    ca.spoil = {"finalize": oops}
    for _ in range(2):
        with pytest.raises(IssuerUnavailable):
            made.obtain(asked, memory)
    ca.spoil = {}
    made.obtain(asked, memory)
    from sqlalchemy import select

    from renewers.models import Spending

    with shared.read() as connection:
        rows = [(row.budget, row.scope) for row in connection.execute(select(Spending)) if row.issuer == "spender"]
    assert sorted(rows) == [("certificates", "example.com"), ("orders", "account")]
