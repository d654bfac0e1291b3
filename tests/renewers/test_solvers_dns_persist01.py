"""dns-persist-01: the record that stands is read as a CA reads it, and asked for in words that can be copied."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import clock
from ca.errors import BadRequest, NotDelivered
from ca.x509 import names
from renewers.solvers import Challenge
from renewers.solvers.dns_persist01 import DnsPersist01, Standing, find, parse, record_for, record_name
from renewers.solvers.zoned import Zoned
from renewers.solvers.zones import Zones
from tests.nameserver import MemoryWriter, Nameserver, nameservers

OWNER = "_validation-persist.shop.example"
ISSUER, ACCOUNT = "ca.example", "https://ca.example/acct/1"
NOW = 1_800_000_000
MOMENT = datetime.fromtimestamp(NOW, UTC)
PLAIN = f"{ISSUER}; accounturi={ACCOUNT}"


def challenge(*, is_wildcard: bool = False) -> Challenge:
    """A challenge that takes records for either of two issuers."""
    return Challenge(
        "dns-persist-01", names.guess("shop.example"), is_wildcard, "", "", ("other.example", ISSUER), ACCOUNT
    )


def soon(seconds: float = 60) -> float:
    """A deadline."""
    return clock.monotonic() + seconds


@pytest.fixture
def servers() -> Iterator[list[Nameserver]]:
    """Two servers of the zone `example`."""
    with nameservers("127.0.0.1", "127.0.0.2") as found:
        for server in found:
            server.zone("example", ["127.0.0.1", "127.0.0.2"])
        yield found


def solver_of(servers: list[Nameserver], *writers: Zoned, lifetime: int | None = None) -> DnsPersist01:
    """The first server is the resolver, too."""
    return DnsPersist01(Zones(servers[0].nameservers, port=servers[0].port), writers, lifetime=lifetime)


def standing(servers: list[Nameserver], *texts: str) -> None:
    """Have these records at both servers."""
    for server in servers:
        server.records[OWNER, "TXT"] = [f'"{text}"' for text in texts]


hosts = st.from_regex(r"[a-z]{1,9}(\.[a-z]{2,9}){1,3}", fullmatch=True)


@given(
    issuer=hosts,
    account=hosts.map(lambda host: f"https://{host}/acct/17"),
    is_wildcard=st.booleans(),
    until=st.none() | st.integers(0, 10**12),
)
def test_what_is_written_is_what_is_read(issuer: str, account: str, is_wildcard: bool, until: int | None) -> None:
    """Every record that we ask for says what we meant, and proves it until its end."""
    text = record_for(issuer, account, is_wildcard=is_wildcard, until=until)
    wanted = Standing(issuer, account, is_wildcard, until)
    assert parse(text) == wanted
    assert find([text], [issuer], account, is_wildcard=is_wildcard, now=0 if until is None else until - 1) == wanted


def test_the_record_is_written_as_people_know_it() -> None:
    """As the draft and Let's Encrypt show it."""
    assert record_name("shop.example") == record_name("*.shop.example") == OWNER
    assert record_for("letsencrypt.org", "https://a/1", is_wildcard=True, until=1767225600) == (
        "letsencrypt.org; accounturi=https://a/1; policy=wildcard; persistUntil=1767225600"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"{ISSUER};accounturi={ACCOUNT};policy=wildcard",
        f"  {ISSUER} ;\taccounturi = {ACCOUNT} ; policy = WildCard ",
        f"CA.Example; AccountURI={ACCOUNT}; POLICY=wildcard; unknown=thing",
    ],
)
def test_space_case_and_unknown_parameters_do_not_matter(text: str) -> None:
    """RFC 8659 section 4.2: tags without case, white space around them; what is unknown is passed over."""
    assert parse(text) == Standing(ISSUER, ACCOUNT, True, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        f"; accounturi={ACCOUNT}",
        ISSUER,
        f"{ISSUER};",
        f"{PLAIN};",
        f"{ISSUER}; accounturi=",
        f"{ISSUER}; policy=wildcard",
        f"{ISSUER}; {ACCOUNT}",
        f"{PLAIN}; accounturi={ACCOUNT}",
        f"{PLAIN}; Policy=wildcard; policy=wildcard",
        f"{PLAIN}; persistUntil=soon",
        f"{PLAIN}; persistUntil=",
        f"{PLAIN}; persistUntil=" + "9" * 30,
        f"{PLAIN} and more",
        f"{PLAIN}; a b=c",
        f"{PLAIN}; a=\x07",
        f"{PLAIN}; ü=1",
        f"<script>; accounturi={ACCOUNT}",
        PLAIN + "; a{}=b" * 20,
    ],
)
def test_what_a_ca_would_not_read_is_not_read(text: str) -> None:
    """A semicolon at the end, a tag twice, no account: the CA refuses such a record, so we say so beforehand."""
    with pytest.raises(BadRequest) as refused:
        parse(text)
    assert refused.value.message.isprintable()


@given(st.text(max_size=200))
def test_any_text_is_survived(text: str) -> None:
    """A stranger may have anything at that name."""
    assert isinstance(find([text, PLAIN], [ISSUER], ACCOUNT, is_wildcard=False, now=NOW), Standing)


@pytest.mark.parametrize(
    ("texts", "is_wildcard", "problem"),
    [
        ([], False, "no record for this CA"),
        (["v=spf1 -all"], False, "no record for this CA"),
        ([f"evil.example; accounturi={ACCOUNT}"], False, "no record for this CA"),
        ([f"{ISSUER}; accounturi={ACCOUNT}0"], False, "names another account"),
        ([f"{PLAIN}; persistUntil={NOW}"], False, "has ended"),
        ([PLAIN], True, "policy=wildcard"),
        ([f"{PLAIN}; policy=other"], True, "policy=wildcard"),
        ([f"{PLAIN};"], False, "cannot be read"),
    ],
)
def test_a_record_that_proves_nothing_is_told_with_its_reason(
    servers: list[Nameserver], texts: list[str], is_wildcard: bool, problem: str
) -> None:
    """The reason, the server, and in the hint the record to make, to be copied."""
    standing(servers, *texts)
    asked = solver_of(servers).answer(challenge(is_wildcard=is_wildcard), deadline=soon())
    with clock.pinned(MOMENT), pytest.raises(NotDelivered) as failed, asked:
        pytest.fail("it was answered")
    assert failed.value.code == "not-propagated"
    assert problem in failed.value.message
    assert "ns1.example" in failed.value.message
    policy = "; policy=wildcard" if is_wildcard else ""
    assert failed.value.hint == f'make this record: {OWNER} TXT "other.example; accounturi={ACCOUNT}{policy}"'


@pytest.mark.parametrize(
    ("texts", "is_wildcard"),
    [
        ([PLAIN], False),
        ([f"{PLAIN}; policy=wildcard"], True),
        ([f"{PLAIN}; policy=wildcard"], False),
        ([f"{PLAIN}; persistUntil={NOW + 1}"], False),
        (["v=spf1 -all", f"{PLAIN};", f"{ISSUER}; accounturi=https://another/1", PLAIN], False),
    ],
)
def test_a_record_that_proves_it_is_enough(servers: list[Nameserver], texts: list[str], is_wildcard: bool) -> None:
    """Among whatever else stands there; nothing is written."""
    standing(servers, *texts)
    with clock.pinned(MOMENT), solver_of(servers).answer(challenge(is_wildcard=is_wildcard), deadline=soon()):
        pass
    assert sorted(servers[0].texts(OWNER)) == sorted(texts)


def test_every_authoritative_server_has_to_show_it(servers: list[Nameserver]) -> None:
    """A secondary that was forgotten is named; looking is not waiting."""
    standing(servers[:1], PLAIN)
    with pytest.raises(NotDelivered) as failed, solver_of(servers).answer(challenge(), deadline=soon(60)):
        pytest.fail("it was answered")
    assert "1 of 2 authoritative servers: ns2.example" in failed.value.message


def test_a_challenge_without_issuers_is_refused(servers: list[Nameserver]) -> None:
    """There would be no record to ask for."""
    empty = Challenge("dns-persist-01", names.guess("shop.example"), False, "", "", (), ACCOUNT)
    with pytest.raises(BadRequest), solver_of(servers).answer(empty, deadline=soon()):
        pytest.fail("it was answered")


def test_with_a_writer_the_record_is_made_once_and_stays(servers: list[Nameserver]) -> None:
    """Made where it is missing, found the next time, never removed; its end is the end of a day."""
    writer = MemoryWriter(*servers)
    solver = solver_of(servers, Zoned("example", writer), lifetime=90 * 86400)
    with clock.pinned(MOMENT):
        for _ in range(3):
            with solver.answer(challenge(is_wildcard=True), deadline=soon()):
                pass
    assert [call[0] for call in writer.calls] == ["add"]
    (text,) = servers[1].texts(OWNER)
    until = parse(text).until
    assert until is not None
    assert until % 86400 == 0
    assert NOW + 90 * 86400 < until <= NOW + 91 * 86400


def test_a_server_that_is_silent_is_no_reason_to_write(
    servers: list[Nameserver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what stands there."""
    monkeypatch.setattr("renewers.solvers.questions.SECONDS", 0.2)
    standing(servers, PLAIN)
    servers[1].twist = lambda answer, is_tcp: None
    writer = MemoryWriter(*servers)
    solver = solver_of(servers, Zoned("example", writer))
    with pytest.raises(NotDelivered) as failed, solver.answer(challenge(), deadline=soon()):
        pytest.fail("it was answered")
    assert failed.value.code == "server-silent"
    assert writer.calls == []


def test_the_end_of_a_record_can_be_looked_up(servers: list[Nameserver]) -> None:
    """The server that ends first counts; where one shows nothing, nothing stands."""
    solver = solver_of(servers)
    standing(servers[:1], f"{PLAIN}; persistUntil={NOW + 500}", f"{PLAIN}; persistUntil={NOW + 900}")
    standing(servers[1:], PLAIN)
    with clock.pinned(MOMENT):
        found = solver.look(names.guess("shop.example"), [ISSUER], ACCOUNT, deadline=soon())
        assert found == Standing(ISSUER, ACCOUNT, False, NOW + 900)
        assert solver.look(names.guess("*.shop.example"), [ISSUER], ACCOUNT, deadline=soon()) is None
        del servers[1].records[OWNER, "TXT"]
        assert solver.look(names.guess("shop.example"), [ISSUER], ACCOUNT, deadline=soon()) is None
