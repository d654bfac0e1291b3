"""Names are typed and canonical, and of a kind that somebody was once fooled by they are refused on sight (row 42)."""

from __future__ import annotations

import itertools
import string
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ca.errors import BadRequest
from ca.keys.algorithms import KeyType, scheme_of, spki
from ca.x509 import names
from ca.x509.certificate import encode_tbs, preview, raw_extension
from ca.x509.names import Kind, Name
from tests import rig

ALGORITHM = scheme_of(KeyType.P256).identifier
CONTROL = [*map(chr, range(0x20)), "\x7f"]

LABELS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,12}[A-Za-z0-9])?", fullmatch=True)
DOMAINS = st.builds(".".join, st.lists(LABELS, min_size=1, max_size=6))
SEGMENTS = st.text("abcXYZ019._-~", min_size=1, max_size=8)
PLAUSIBLE = {
    Kind.DNS: st.builds(lambda star, domain: star + domain, st.sampled_from(["", "*."]), DOMAINS),
    Kind.IP: st.ip_addresses().map(str),
    Kind.EMAIL: st.builds(lambda user, domain: f"{user}@{domain}", st.text("aB9.!#+_-", max_size=8), DOMAINS),
    Kind.URI: st.builds(
        lambda start, rest: start + "/".join(rest),
        st.sampled_from(
            ["spiffe://", "spiffe://td.example/", "https://", "HTTPS://u@h/", "urn:dev:", "x-a.b+c:", "//", ""]
        ),
        st.lists(SEGMENTS, max_size=5),
    ),
}
ANYTHING = st.one_of(
    *(st.tuples(st.just(kind), values) for kind, values in PLAUSIBLE.items()),
    st.tuples(st.sampled_from(Kind), st.one_of(*PLAUSIBLE.values())),
    st.tuples(st.sampled_from(Kind), st.text(max_size=30)),
    st.tuples(st.sampled_from(Kind), st.text(string.printable, max_size=30)),
)


def refused(kind: Kind, value: str) -> str:
    """The message of the refusal that this name gets; fails if it gets none."""
    with pytest.raises(BadRequest) as raised:
        names.make(kind, value)
    assert raised.value.code == "bad-name"
    return raised.value.message


def read_back(encoded: bytes) -> list[x509.GeneralName]:
    """The general names of an encoded SubjectAltName, as a relying party parses them out of a certificate."""
    tbs = encode_tbs(
        serial=1,
        algorithm=ALGORITHM,
        issuer=rig.common_name("a").public_bytes(),
        not_before=0,
        not_after=1,
        subject=rig.common_name("a").public_bytes(),
        spki=spki(rig.pooled_key().public_key()),
        extensions=[raw_extension("2.5.29.17", encoded, critical=False)],
    )
    certificate = preview(tbs, ALGORITHM)
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


BAD_DNS = {
    "empty": "",
    "a dot": ".",
    "leading dot": ".example.com",
    "trailing dot": "example.com.",
    "two dots": "a..example.com",
    "label of 64": f"{'a' * 64}.example.com",
    "name of 254": ".".join(["a" * 49] * 5) + ".abcd",
    "eleven labels": ".".join("abcdefghijk"),
    "star alone": "*",
    "star and dot": "*.",
    "star inside": "a.*.example.com",
    "star at the end": "a.*",
    "two stars": "*.*.example.com",
    "star in a label": "a*.example.com",
    "star as a label's start": "*a.example.com",
    "leading hyphen": "-a.example.com",
    "trailing hyphen": "a-.example.com",
    "reserved hyphens": "ab--cd.example.com",
    "reserved hyphens under a star": "*.ab--cd.example.com",
    "bare punycode prefix": "xn--.example.com",
    "numeric top level": "example.123",
    "an address": "10.0.0.1",
    "numeric alone": "42",
    "underscore": "_acme.example.com",
    "blank": "a b.example.com",
    "slash": "a/b.example.com",
    "colon": "a:443",
    "at sign": "a@example.com",
    "umlaut": "bücher.example",
    "fullwidth": "ｅxample.com",
    "ideographic full stop": "a。example.com",
    "right-to-left override": "exa\u202emple.com",
    "zero width joiner": "exa\u200dmple.com",
    "soft hyphen": "exa\u00admple.com",
    "utf-16 text": "e\0x\0a\0m\0p\0l\0e\0",
    "lone surrogate": "a\udc80.example",
    "dotless i": "ıexample.com",
    "dotted capital i": "İexample.com",
    "long s": "ſexample.com",
    "arabic digits": "example.١٢",
}


@pytest.mark.parametrize("value", BAD_DNS.values(), ids=BAD_DNS.keys())
def test_a_bad_dns_name_is_refused(value: str) -> None:
    """Every class of name in row 42, and everything Boulder's policy authority refuses, is a `bad-name`."""
    refused(Kind.DNS, value)


def test_a_kelvin_sign_is_not_a_letter_k() -> None:
    """A non-ASCII character whose lower case is ASCII is non-ASCII all the same."""
    refused(Kind.DNS, "\u212aey.example")


def test_only_a_plain_ascii_character_can_be_in_a_dns_name() -> None:
    """Of all characters, only letters, digits and the inner hyphen stand inside a label."""
    accepted = set()
    for number in itertools.chain(range(0xD800), range(0xE000, 0x11000)):
        try:
            names.make(Kind.DNS, f"a{chr(number)}a.example")
        except BadRequest:
            continue
        accepted.add(chr(number))
    accepted.discard("\u212a")  # has a test of its own
    assert accepted == {*string.ascii_letters, *string.digits, "-", "."}


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("character", CONTROL, ids=ascii)
def test_a_control_character_is_refused_in_every_kind_and_place(kind: Kind, character: str) -> None:
    """NUL, 0x01 to 0x1f and 0x7f are refused at the start, inside and at the end (CVE-2009-2408, CVE-2013-4314)."""
    good = {
        Kind.DNS: "good.example",
        Kind.IP: "10.0.0.1",
        Kind.URI: "spiffe://good.example/a",
        Kind.EMAIL: "ada@good.example",
    }
    for value in (good[kind], "https://good.example/a") if kind is Kind.URI else (good[kind],):
        assert names.make(kind, value).value == value
        for place in (0, 1, len(value) // 2, len(value)):
            refused(kind, value[:place] + character + value[place:])


def test_the_longest_dns_names_are_accepted() -> None:
    """63 characters in a label, 253 in a name, 10 labels: the limits themselves are inside."""
    assert names.make(Kind.DNS, f"{'a' * 63}.example").value
    longest = ".".join([*(["a" * 49] * 5), "abc"])
    assert len(longest) == 253
    assert names.make(Kind.DNS, longest).value == longest
    assert names.make(Kind.DNS, ".".join("abcdefghij")).value == "a.b.c.d.e.f.g.h.i.j"
    assert names.make(Kind.DNS, "xn--bcher-kva.example").value == "xn--bcher-kva.example"


def test_case_is_folded_where_it_means_nothing() -> None:
    """DNS names and the domain of an address are lower case; a local part and a path keep theirs."""
    assert names.make(Kind.DNS, "API.Example").value == "api.example"
    assert names.make(Kind.EMAIL, "Ada@Example.COM").value == "Ada@example.com"
    assert names.make(Kind.URI, "HTTPS://h.example/Path").value == "https://h.example/Path"
    assert names.make(Kind.IP, "2001:DB8:0::1").value == "2001:db8::1"


BAD_URIS = {
    "empty": "",
    "no scheme": "//host/path",
    "relative": "a/b",
    "scheme alone": "https:",
    "digit first": "1a:b",
    "user": "https://ada@host.example/",
    "user and password": "https://ada:secret@host.example/",
    "empty user": "https://@host.example/",
    "fragment": "https://host.example/#top",
    "urn with fragment": "urn:dev:mac:1#a",
    "blank": "https://host.example/a b",
    "umlaut": "https://host.example/ü",
    "open bracket": "https://[::1/",
    "not an address in brackets": "https://[host]/",
    "too long": "urn:" + "a" * 2045,
    "kelvin sign in the scheme": "\u212aey:a",
}


@pytest.mark.parametrize("value", BAD_URIS.values(), ids=BAD_URIS.keys())
def test_a_bad_uri_is_refused(value: str) -> None:
    """A URI is absolute, ASCII, at most 2048 long, without user information and fragment."""
    refused(Kind.URI, value)


@pytest.mark.parametrize("value", ["https://host.example/#", "urn:dev:mac:1#"])
def test_an_empty_fragment_is_a_fragment(value: str) -> None:
    """`#` with nothing after it starts a fragment (RFC 3986 section 3.5) and makes a second spelling of a name."""
    refused(Kind.URI, value)


BAD_SPIFFE = {
    "no domain": "spiffe://",
    "no domain, a path": "spiffe:///a",
    "one slash": "spiffe:/td.example/a",
    "opaque": "spiffe:td.example/a",
    "upper-case scheme": "SPIFFE://td.example/a",
    "upper-case domain": "spiffe://TD.example/a",
    "domain of 256": f"spiffe://{'a' * 256}/a",
    "port": "spiffe://td.example:443/a",
    "user": "spiffe://ada@td.example/a",
    "percent in the domain": "spiffe://td%2eexample/a",
    "empty segment": "spiffe://td.example//a",
    "empty segment inside": "spiffe://td.example/a//b",
    "trailing slash": "spiffe://td.example/a/",
    "slash alone": "spiffe://td.example/",
    "dot": "spiffe://td.example/.",
    "dot first": "spiffe://td.example/./a",
    "dot inside": "spiffe://td.example/a/./b",
    "dots last": "spiffe://td.example/a/..",
    "dots inside": "spiffe://td.example/a/../b",
    "query": "spiffe://td.example/a?b",
    "empty query": "spiffe://td.example/a?",
    "fragment": "spiffe://td.example/a#b",
    "empty fragment": "spiffe://td.example/a#",
    "percent in a segment": "spiffe://td.example/a%2fb",
    "tilde": "spiffe://td.example/~a",
    "star": "spiffe://td.example/*",
    "umlaut": "spiffe://td.example/ü",
    "newline": "spiffe://td.example/a\n",
    "too long": "spiffe://td.example/" + "a" * 2029,
}


@pytest.mark.parametrize("value", BAD_SPIFFE.values(), ids=BAD_SPIFFE.keys())
def test_a_bad_spiffe_id_is_refused(value: str) -> None:
    """A SPIFFE ID has one spelling: no case, port, escape, empty or relative segment, query or trailing slash."""
    refused(Kind.URI, value)


@pytest.mark.parametrize(
    "value",
    [
        "spiffe://td.example",
        "spiffe://td_1.example-2/a",
        "spiffe://td.example/.../..a/a../.a",
        f"spiffe://{'a' * 255}/{'b' * 1783}",
    ],
    ids=len,
)
def test_a_good_spiffe_id_is_kept_as_it_is(value: str) -> None:
    """What looks odd and is allowed by the standard is accepted, up to 255 in the domain and 2048 in all."""
    assert names.make(Kind.URI, value) == Name(Kind.URI, value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "fe80::1%eth0",
        "fe80::1%0",
        "10.0.0.1%1",
        "10.0.0",
        "010.0.0.1",
        "10.0.0.1/32",
        "10.0.0.256",
        " 10.0.0.1",
        "::1::",
        "[::1]",
        "١٠.0.0.1",
        "0x7f.0.0.1",
        "167772161",
        "::ffff:10.0.0.256",
        "::1\n",
    ],
)
def test_a_bad_address_is_refused(value: str) -> None:
    """Zones, networks, brackets, octal, short and foreign forms are not addresses."""
    refused(Kind.IP, value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "@",
        "ada",
        "ada@",
        "@example.com",
        "a@b@example.com",
        ".ada@example.com",
        "ada.@example.com",
        "a..b@example.com",
        "a b@example.com",
        '"a"@example.com',
        "ada@*.example.com",
        "ada@example.com.",
        "ada@[::1]",
        "ada@10.0.0.1",
        "Ada <ada@example.com>",
        "ada@example.com\n",
        "ä@example.com",
        "ada@ä.example",
        f"{'a' * 65}@b",
        "a\\@b@example.com",
        "a,b@example.com",
        "a(b)@example.com",
    ],
)
def test_a_bad_mail_address_is_refused(value: str) -> None:
    """A mail address is one plain local part at one plain DNS name."""
    refused(Kind.EMAIL, value)


def test_a_refusal_quotes_a_name_in_a_form_that_is_safe_to_log() -> None:
    """A message shows at most 80 characters of a name, escaped, so that no line and no terminal can be forged."""
    for value in ("a\n2026-01-01 level=info forged", "a\x1b[2Jb", "a" * 10_000):
        message = refused(Kind.DNS, value)
        assert message.isprintable()
        assert len(message) < 300


@given(ANYTHING)
@example((Kind.URI, "spiffe://td.example/a"))
@example((Kind.IP, "::ffff:10.0.0.1"))
@example((Kind.DNS, "*.a.example"))
@settings(deadline=None, max_examples=200)
def test_what_make_accepts_is_canonical_and_survives_a_certificate(choice: tuple[Kind, str]) -> None:
    """`make()` is idempotent, and its names come back from a parsed certificate as the very same names."""
    try:
        name = names.make(*choice)
    except BadRequest:
        return
    assert names.make(name.kind, name.value) == name
    assert names.parse(str(name)) == name
    [parsed] = read_back(names.encode_all([name]))
    assert names.from_general_name(parsed) == name
    assert parsed == rig.general_name(name)


@given(st.lists(ANYTHING, max_size=8))
@settings(deadline=None, max_examples=60)
def test_many_names_are_read_back_in_order(choices: list[tuple[Kind, str]]) -> None:
    """A list of names is encoded as the same list: nothing merged, dropped, or moved."""
    made = []
    for choice in choices:
        try:
            made.append(names.make(*choice))
        except BadRequest:
            continue
    assert [names.from_general_name(n) for n in read_back(names.encode_all(made))] == made


@given(st.text(max_size=40))
@settings(deadline=None)
def test_names_of_two_kinds_are_never_equal(value: str) -> None:
    """The same text as a DNS name, a URI, an address and a mail address is four names, under every way to compare."""
    all_kinds = [Name(kind, value) for kind in Kind]
    for one, other in itertools.combinations(all_kinds, 2):
        assert one != other
        assert str(one) != str(other)
    assert len(set(all_kinds)) == len(Kind)


@given(st.text(max_size=40), st.sampled_from(Kind))
@settings(deadline=None)
def test_parsing_any_text_gives_a_name_or_a_bad_request(text: str, kind: Kind) -> None:
    """Whatever is typed, with or without a kind before it, there is no third outcome, and a kind is kept."""
    for source, wanted in ((text, None), (f"{kind.value}:{text}", kind)):
        try:
            name = names.parse(source)
        except BadRequest:
            continue
        assert wanted in (None, name.kind)
        assert names.make(name.kind, name.value) == name


def test_people_may_leave_the_kind_out() -> None:
    """A URI, a URN, a mail address, an address and a host name are told apart by their looks."""
    guessed = {
        "spiffe://td.example/a": Kind.URI,
        "urn:dev:mac:1": Kind.URI,
        "ada@example.com": Kind.EMAIL,
        "10.0.0.1": Kind.IP,
        "::1": Kind.IP,
        "localhost": Kind.DNS,
        "*.example.com": Kind.DNS,
    }
    assert {text: names.parse(text).kind for text in guessed} == guessed
    assert names.parse("dns:localhost") == Name(Kind.DNS, "localhost")
    assert names.parse("uri:mailto:ada@example.com") == Name(Kind.URI, "mailto:ada@example.com")


@pytest.mark.parametrize(
    "general_name",
    [
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x03ada"),
        x509.DirectoryName(rig.common_name("api.example")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4")),
        x509.IPAddress(ip_network("10.0.0.0/8")),
        x509.DNSName("api.example\0.evil.example"),
        x509.DNSName("https://api.example/"),
        x509.RFC822Name("api.example"),
        x509.UniformResourceIdentifier("api.example"),
    ],
    ids=lambda name: type(name).__name__,
)
def test_a_general_name_of_another_kind_is_refused(general_name: x509.GeneralName) -> None:
    """otherName, directoryName, registeredID, networks, and text of one kind inside another do not become names."""
    with pytest.raises(BadRequest) as raised:
        names.from_general_name(general_name)
    assert raised.value.code == "bad-name"


def test_an_address_is_encoded_as_its_octets() -> None:
    """4 or 16 octets (RFC 5280 section 4.2.1.6), never text."""
    assert names.make(Kind.IP, "10.0.0.1").encode() == b"\x87\x04\x0a\x00\x00\x01"
    assert names.make(Kind.IP, "::1").encode() == b"\x87\x10" + ip_address("::1").packed


def test_wildcards_and_spiffe_ids_know_themselves() -> None:
    """`is_wildcard` and `is_spiffe` look at the kind first."""
    assert names.make(Kind.DNS, "*.example").is_wildcard
    assert not names.make(Kind.DNS, "a.example").is_wildcard
    assert names.make(Kind.URI, "spiffe://td.example/a").is_spiffe
    assert not Name(Kind.DNS, "spiffe://td.example/a").is_spiffe
    assert not Name(Kind.URI, "*.example").is_wildcard


@given(st.lists(st.sampled_from("abcXYZ019._-/%~"), max_size=12).map("".join), DOMAINS)
@settings(deadline=None, max_examples=150)
def test_trust_domain_and_segments_are_told_apart(path: str, domain: str) -> None:
    """For every SPIFFE ID that is accepted, domain and segments put together again are the ID."""
    try:
        name = names.make(Kind.URI, f"spiffe://{domain.lower()}/{path}")
    except BadRequest:
        return
    found, segments = names.spiffe_parts(name.value)
    assert found == domain.lower()
    assert segments
    assert all(segments)
    assert not {".", ".."} & set(segments)
    assert "spiffe://" + "/".join((found, *segments)) == name.value
