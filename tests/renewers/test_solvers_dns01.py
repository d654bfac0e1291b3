"""dns-01 against name servers that lag, lie and fall silent; the true ones are in `tests/peers/test_bind.py`."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from ca.x509 import names
from pki import logs
from renewers.solvers import Challenge, questions
from renewers.solvers.dns01 import Dns01
from renewers.solvers.questions import MOST_RECORDS, Server, texts_at
from renewers.solvers.zoned import Zoned, closest, domain_of
from renewers.solvers.zones import MOST_ALIASES, Zones
from tests.nameserver import MemoryWriter, Nameserver, nameservers

NAME = "_acme-challenge.shop.example"


def challenge(name: str = "shop.example", token: str = "A", *, is_wildcard: bool = False) -> Challenge:
    """A challenge; the token is one letter, over and over."""
    return Challenge("dns-01", names.guess(name), is_wildcard, token * 43, f"{token * 43}.{'t' * 43}")


def value_of(asked: Challenge) -> str:
    """What the record has to say (RFC 8555 section 8.4), computed without the product."""
    return urlsafe_b64encode(sha256(asked.authorization.encode()).digest()).decode().rstrip("=")


def soon(seconds: float = 60) -> float:
    """A deadline."""
    return clock.monotonic() + seconds


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is silent has had its time after a third of a second."""
    monkeypatch.setattr(questions, "SECONDS", 0.3)


@pytest.fixture
def servers() -> Iterator[list[Nameserver]]:
    """Two servers of the zone `example`; the first is the resolver, too."""
    with nameservers("127.0.0.1", "127.0.0.2") as found:
        for server in found:
            server.zone("example", ["127.0.0.1", "127.0.0.2"])
        yield found


def zones_of(servers: list[Nameserver]) -> Zones:
    """The first server is the resolver."""
    return Zones(servers[0].nameservers, port=servers[0].port)


def solver_of(servers: list[Nameserver], writer: MemoryWriter | None = None) -> Dns01:
    """Writes to all of them."""
    return Dns01([Zoned("example", writer or MemoryWriter(*servers))], zones_of(servers))


def test_a_name_and_its_wildcard_have_two_values_at_one_name(servers: list[Nameserver]) -> None:
    """Both at once, each removed alone; what somebody else has there stays."""
    servers[0].records[NAME, "TXT"] = ['"not ours"']
    servers[1].records[NAME, "TXT"] = ['"not ours"']
    solver, one, two = solver_of(servers), challenge(), challenge(token="B", is_wildcard=True)
    with solver.answer(one, deadline=soon()):
        with solver.answer(two, deadline=soon()):
            assert set(servers[1].texts(NAME)) == {"not ours", value_of(one), value_of(two)}
        assert set(servers[1].texts(NAME)) == {"not ours", value_of(one)}
    assert servers[1].texts(NAME) == ["not ours"]


def test_an_alias_is_followed_into_another_zone(servers: list[Nameserver]) -> None:
    """The record is written where the chain ends, by the writer of that zone, which has no key to the first one."""
    for server in servers:
        server.zone("acme.test", ["127.0.0.1", "127.0.0.2"])
        server.records[NAME, "CNAME"] = ["shop.hop.example."]
        server.records["shop.hop.example", "CNAME"] = ["shop.acme.test."]
    mine, other = MemoryWriter(*servers), MemoryWriter(*servers)
    solver = Dns01([Zoned("acme.test", mine, ("shop.example",)), Zoned("other.test", other)], zones_of(servers))
    with solver.answer(challenge(), deadline=soon()):
        assert servers[1].texts("shop.acme.test") == [value_of(challenge())]
    assert [call[:2] for call in mine.calls] == [("add", "shop.acme.test"), ("remove", "shop.acme.test")]
    assert other.calls == []


def test_only_delegated_domains_are_solved() -> None:
    """A zone of ours, or a domain that the settings say leads to one; whole labels, and no other name."""
    writer = MemoryWriter()
    solver = Dns01([Zoned("acme.test", writer, ("Shop.Example.",)), Zoned("_acme-challenge.solo.example", writer)])
    for name, expected in [
        ("acme.test", True),
        ("a.acme.test", True),
        ("shop.example", True),
        ("a.shop.example", True),
        ("ashop.example", False),
        ("example", False),
        ("solo.example", True),
        ("a.solo.example", False),
    ]:
        assert solver.solves(names.guess(name), is_wildcard=False) is expected, name


def test_the_longest_zone_has_the_writer(servers: list[Nameserver]) -> None:
    """A delegated subzone has a key of its own."""
    for server in servers:
        server.zone("shop.example", ["127.0.0.1"])
    wide, narrow = MemoryWriter(*servers), MemoryWriter(*servers)
    solver = Dns01([Zoned("example", wide), Zoned("shop.example", narrow)], zones_of(servers))
    with solver.answer(challenge(), deadline=soon()):
        pass
    with solver.answer(challenge("ashop.example"), deadline=soon()):
        pass
    assert {call[1] for call in narrow.calls} == {NAME}
    assert {call[1] for call in wide.calls} == {"_acme-challenge.ashop.example"}


@pytest.mark.parametrize(
    "chain",
    [
        {NAME: NAME},
        {NAME: "a.example", "a.example": "b.example", "b.example": "a.example"},
        {NAME: "a0.example"} | {f"a{n}.example": f"a{n + 1}.example" for n in range(MOST_ALIASES + 2)},
    ],
    ids=["itself", "circle", "long"],
)
def test_a_chain_of_aliases_has_an_end(servers: list[Nameserver], chain: dict[str, str]) -> None:
    """Circles and chains without an end are refused, before anything is written."""
    for name, target in chain.items():
        servers[0].records[name, "CNAME"] = [f"{target}."]
    writer = MemoryWriter(*servers)
    with pytest.raises(NotDelivered) as failed, solver_of(servers, writer).answer(challenge(), deadline=soon()):
        pytest.fail("it was answered")
    assert failed.value.code == "alias-loop"
    assert writer.calls == []


@pytest.mark.parametrize("target", [r"a\010b.example.", r"\"quote\".example.", "*.example.", r"\255.example.", "."])
def test_an_alias_to_what_is_no_name_is_refused(servers: list[Nameserver], target: str) -> None:
    """Control characters, quotes, wildcards: a stranger's name is never written to, nor shown."""
    servers[0].records[NAME, "CNAME"] = [target]
    with pytest.raises(NotDelivered, match="no usable name") as failed:
        zones_of(servers).target_of(NAME, soon())
    assert failed.value.message.isprintable()


def test_an_alias_to_a_zone_without_a_writer_is_said(servers: list[Nameserver]) -> None:
    """The hint says which record to make."""
    servers[0].records[NAME, "CNAME"] = ["shop.elsewhere.test."]
    with pytest.raises(NotDelivered) as failed, solver_of(servers).answer(challenge(), deadline=soon()):
        pytest.fail("it was answered")
    assert failed.value.code == "no-writer"
    assert "shop.elsewhere.test" in failed.value.message
    assert NAME in (failed.value.hint or "")


def test_a_server_that_lags_is_waited_for(servers: list[Nameserver]) -> None:
    """The CA is called only when the last server has the value."""
    writer, late = MemoryWriter(servers[0]), MemoryWriter(servers[1])
    seen = []

    def arrive() -> None:
        time.sleep(0.2)
        seen.append(time.monotonic())
        late.add(NAME, value_of(challenge()), deadline=soon())

    thread = threading.Thread(target=arrive)
    thread.start()
    with solver_of(servers, writer).answer(challenge(), deadline=soon()):
        assert seen
        assert seen[0] <= time.monotonic()
    thread.join()


def test_a_server_that_lags_too_long_is_named_and_the_record_removed(servers: list[Nameserver]) -> None:
    """The error names it and counts; nothing stays behind; and no longer than the deadline was waited."""
    writer = MemoryWriter(servers[0])
    started = time.monotonic()
    with pytest.raises(NotDelivered) as failed, solver_of(servers, writer).answer(challenge(), deadline=soon(1)):
        pytest.fail("it was answered")
    assert time.monotonic() - started < 20
    assert failed.value.code == "not-propagated"
    assert "1 of 2 authoritative servers" in failed.value.message
    assert f"ns2.example (127.0.0.2 port {servers[1].port})" in failed.value.message
    assert servers[0].texts(NAME) == []


def _silent(answer: dns.message.Message, is_tcp: bool) -> None:
    return None


def _refused(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message:
    answer.set_rcode(dns.rcode.REFUSED)
    return answer


def _not_its_own(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message:
    answer.flags &= ~dns.flags.AA
    return answer


def _too_many(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message:
    if not is_tcp:
        answer.flags |= dns.flags.TC
        return answer
    texts = [f'"{number}"' for number in range(MOST_RECORDS)]
    answer.answer.append(dns.rrset.from_text(answer.question[0].name, 1, "IN", "TXT", *texts, '"one too many"'))
    return answer


def _of_another_name(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message:
    answer.answer = [dns.rrset.from_text("other.example.", 1, "IN", "TXT", f'"{value_of(challenge())}"')]
    return answer


def _garbage(answer: dns.message.Message, is_tcp: bool) -> bytes:
    return b"\xff" * 40


def _of_another_question(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message:
    answer.id ^= 1
    return answer


@pytest.mark.parametrize(
    ("twist", "code", "said"),
    [
        (_silent, "server-silent", "does not answer"),
        (_refused, "bad-dns-answer", "says REFUSED"),
        (_not_its_own, "lame-server", "not authoritative"),
        (_too_many, "bad-dns-answer", "more than 64 records"),
        (_of_another_name, "not-propagated", "not there"),
        (_garbage, "server-silent", "does not answer"),
        (_of_another_question, "server-silent", "does not answer"),
    ],
)
def test_one_bad_server_fails_the_whole_and_is_named(servers: list[Nameserver], twist, code: str, said: str) -> None:
    """Silent, refusing, lame, hostile: the CA may ask that one, so it is not called."""
    servers[1].twist = twist
    with pytest.raises(NotDelivered) as failed, solver_of(servers).answer(challenge(), deadline=soon(2)):
        pytest.fail("it was answered")
    assert failed.value.code == code
    assert said in failed.value.message
    assert "ns2.example (127.0.0.2" in failed.value.message
    assert servers[0].texts(NAME) == []


def test_a_datagram_that_is_lost_fails_nothing(servers: list[Nameserver], monkeypatch: pytest.MonkeyPatch) -> None:
    """The one resolver that there is did not hear the first question: it is asked again."""
    monkeypatch.setattr(questions, "SECONDS", 1.0)
    lost: list[dns.message.Message] = []

    def lose_one(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message | None:
        lost.append(answer)
        return None if len(lost) == 1 else answer

    servers[0].twist = lose_one
    with solver_of(servers).answer(challenge(), deadline=soon()):
        pass
    assert len(lost) > 1


def test_an_answer_that_does_not_fit_is_asked_for_by_tcp(servers: list[Nameserver]) -> None:
    """Forty values at one name: truncated over UDP, whole over TCP."""
    for server in servers:
        server.records[NAME, "TXT"] = [f'"{number:043}"' for number in range(40)]
        server.twist = lambda answer, is_tcp: answer if is_tcp else _truncated(answer)
    with solver_of(servers).answer(challenge(), deadline=soon()):
        assert (NAME, "TXT", True) in servers[1].asked


def _truncated(answer: dns.message.Message) -> dns.message.Message:
    answer.flags |= dns.flags.TC
    answer.answer = []
    return answer


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wire=st.binary(max_size=300), keeps_head=st.booleans())
def test_any_answer_is_survived(servers: list[Nameserver], wire: bytes, keeps_head: bool) -> None:
    """Whatever bytes come back, with a right head or without: an error of ours or some texts, never anything else."""

    def twist(answer: dns.message.Message, is_tcp: bool) -> bytes:
        true = answer.to_wire()
        return true[: len(true) - len(true) // 3] + wire if keeps_head else wire

    server = servers[1]
    server.twist = twist
    server.records[NAME, "TXT"] = ['"a"']
    said: tuple[str, ...] = ()
    try:
        said = texts_at(Server(server.address, server.port, "ns2.example"), NAME, clock.monotonic())
    except NotDelivered as error:
        said = (error.message,)
    assert all(isinstance(text, str) for text in said)


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "169.254.169.254", "255.255.255.255", "fe80::1", "::"])
def test_no_question_goes_to_what_is_no_name_server(servers: list[Nameserver], address: str) -> None:
    """A zone says that its server is a multicast group or a metadata service: it is not asked."""
    servers[0].zone("example", ["127.0.0.1", address])
    with pytest.raises(NotDelivered) as failed:
        zones_of(servers).servers_of("example", soon())
    assert failed.value.code == "no-servers"
    assert "ns2.example is not asked" in failed.value.message


def test_a_zone_with_too_many_servers_is_refused(servers: list[Nameserver]) -> None:
    """Seventeen names, or forty addresses of one: nobody is asked that often on a stranger's word."""
    servers[0].zone("many.test", ["127.0.0.1"] * 17)
    with pytest.raises(NotDelivered, match="no usable list"):
        zones_of(servers).servers_of("many.test", soon())
    servers[0].zone("wide.test", ["127.0.0.1"])
    servers[0].records["ns1.wide.test", "A"] = [f"127.0.1.{number}" for number in range(1, 41)]
    with pytest.raises(NotDelivered, match="more than 32 addresses"):
        zones_of(servers).servers_of("wide.test", soon())


def test_a_server_name_without_an_address_is_named(servers: list[Nameserver]) -> None:
    """A broken delegation is told to the owner of the zone."""
    servers[0].zone("example", ["127.0.0.1", "127.0.0.2"])
    del servers[0].records["ns2.example", "A"]
    with pytest.raises(NotDelivered, match=r"ns2\.example has no address"):
        zones_of(servers).servers_of("example", soon())


def test_an_address_of_a_family_that_we_have_no_way_to_is_passed_over(
    servers: list[Nameserver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No IPv6 here: a server that shows the record at its other address is believed; one with no other is not."""
    _without_ipv6(monkeypatch)
    for server in servers:
        server.records["ns1.example", "AAAA"] = ["2001:db8::1"]
    with solver_of(servers).answer(challenge(), deadline=soon()):
        pass
    for server in servers:
        del server.records["ns2.example", "A"]
        server.records["ns2.example", "AAAA"] = ["2001:db8::2"]
    with pytest.raises(NotDelivered) as failed, solver_of(servers).answer(challenge(), deadline=soon(2)):
        pytest.fail("it was answered")
    assert failed.value.code == "no-route"
    assert "ns2.example (2001:db8::2" in failed.value.message


def _without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    make = dns.query.make_socket

    def made(af: int, *arguments: object, **more: object) -> socket.socket:
        if af == socket.AF_INET6:
            raise OSError(101, "Network is unreachable")
        return make(af, *arguments, **more)

    monkeypatch.setattr("dns.query.make_socket", made)


def test_a_resolver_need_not_be_authoritative() -> None:
    """The system's resolvers answer from a cache, without AA; only the zone's own servers have to speak for it."""
    with nameservers("127.0.0.1", "127.0.0.3") as (own, resolver):
        for server in (own, resolver):
            server.zone("example", ["127.0.0.1"])
        resolver.twist = _not_its_own
        with solver_of([resolver], MemoryWriter(own)).answer(challenge(), deadline=soon()):
            assert own.texts(NAME) == [value_of(challenge())]
        assert {kind for _, kind, _ in own.asked} == {"TXT"}
        assert {kind for _, kind, _ in resolver.asked} == {"CNAME", "SOA", "NS", "A", "AAAA"}


def test_the_next_resolver_is_asked_when_the_first_is_silent(servers: list[Nameserver]) -> None:
    """A resolver that is down costs a time-out, and no certificate."""
    servers[0].twist = _silent
    zones = Zones([*servers[0].nameservers, *servers[1].nameservers], port=servers[1].port)
    assert zones.zone_of(NAME, soon()) == "example"
    servers[1].twist = _refused
    with pytest.raises(NotDelivered, match="no resolver answers"):
        zones.zone_of(NAME, soon())


def test_the_system_resolvers_are_asked_where_none_are_set(
    servers: list[Nameserver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are at that moment; a machine without any is told."""

    class Known:
        nameservers, port = ["127.0.0.1"], servers[0].port

    monkeypatch.setattr("dns.resolver.Resolver", Known)
    assert Zones().zone_of("a.shop.example", soon()) == "example"
    monkeypatch.setattr("dns.resolver.Resolver", _no_resolvers)
    with pytest.raises(Misconfigured, match="no resolvers"):
        Zones().zone_of("example", soon())


def _no_resolvers() -> None:
    raise dns.resolver.NoResolverConfiguration


def test_a_name_in_no_zone_is_said(servers: list[Nameserver]) -> None:
    """Nothing up to the top has an SOA."""
    with pytest.raises(NotDelivered, match="no zone is found"):
        zones_of(servers).zone_of("a.nowhere.test", soon())


class Failing(MemoryWriter):
    """A writer whose call fails after the record is there, as a time-out does."""

    def add(self, name: str, value: str, *, deadline: float) -> None:
        """Add, and fail."""
        super().add(name, value, deadline=deadline)
        raise NotDelivered("the provider does not answer")


def test_what_may_have_been_written_is_removed(servers: list[Nameserver]) -> None:
    """A call that failed may have arrived."""
    writer = Failing(*servers)
    with pytest.raises(NotDelivered) as failed, solver_of(servers, writer).answer(challenge(), deadline=soon()):
        pytest.fail("it was answered")
    assert failed.value.message == "the provider does not answer"
    assert [call[0] for call in writer.calls] == ["add", "remove"]
    assert servers[0].texts(NAME) == []


class Sticky(MemoryWriter):
    """A writer that cannot remove."""

    def remove(self, name: str, value: str, *, deadline: float) -> None:
        """Fail."""
        raise NotDelivered("the provider does not answer")


def test_a_record_that_stays_behind_is_logged_and_breaks_nothing(
    servers: list[Nameserver], caplog: pytest.LogCaptureFixture
) -> None:
    """What came of the challenge counts; the log names the record, and not its value."""
    with caplog.at_level(logging.WARNING), solver_of(servers, Sticky(*servers)).answer(challenge(), deadline=soon()):
        pass
    (left,) = caplog.records
    told = json.loads(logs._Json().format(left))
    assert [told[name] for name in ("event", "level", "record", "reason")] == [
        "challenge-record-left",
        "warning",
        NAME,
        "the provider does not answer",
    ]
    assert value_of(challenge()) not in str(told)


@given(
    name=st.lists(st.sampled_from(["a", "b", "ab", "x"]), min_size=1, max_size=4).map(".".join),
    domains=st.sets(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=3).map(".".join), max_size=6),
)
def test_the_closest_domain_is_a_suffix_of_whole_labels(name: str, domains: set[str]) -> None:
    """Compared label by label, against a slow search."""
    labels = name.split(".")
    suffixes = [".".join(labels[start:]) for start in range(len(labels))]
    assert closest(name, domains) == next((suffix for suffix in suffixes if suffix in domains), None)


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "*.example", "a b", "a" * 64, "ü.example", "a/b", ".".join(["a" * 60] * 5)]
)
def test_a_domain_of_the_settings_is_checked(text: str) -> None:
    """Before anything is asked about it."""
    with pytest.raises(Misconfigured):
        domain_of(text)
