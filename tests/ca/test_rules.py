"""Name rules against oracles that split and compare: nothing widens them, nothing in them is a pattern by chance."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ca.errors import BadRequest
from ca.profiles.config import AllowConfig
from ca.profiles.rules import NameRule, compile_rules
from ca.x509.names import Kind, Name, make
from tests import rig

VARIABLES = {"domain": "corp.example", "trust_domain": "td.example"}
METACHARACTERS = "*()[]{}\\.%_'\";|^$+?#&~@/:-<>=!,`"
PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,3}[a-z0-9])?", fullmatch=True).filter(lambda label: label[2:4] != "--")
TOP = st.sampled_from(["example", "internal", "corp", "x1a"])
DOMAIN = st.builds(lambda labels, top: ".".join([*labels, top]), st.lists(LABEL, min_size=1, max_size=3), TOP)
PLAIN_VALUE = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,6}[A-Za-z0-9])?", fullmatch=True)
VALUE = st.one_of(
    PLAIN_VALUE,
    st.text(METACHARACTERS + "aB1\n\0 é\u212a", max_size=8),
    st.sampled_from(["", "*", "**", ".", "..", "/", "a/b", ".*", "[a-z]", "a.b", "a|b", "a)|(b", "(?:)", "\\w", "a\n"]),
    st.sampled_from(["{caller.x}", "{domain}", "a" * 63, "a" * 64, "-a", "a-", "_a", "a*", "%2e%2e", "K", "\u212a"]),
)
SEGMENT = st.one_of(
    st.text("abZ9._~-", min_size=1, max_size=5), st.sampled_from(["*", "%2e", "a?b", "a(b", "..."])
).filter(lambda segment: segment not in (".", ".."))  # which have a test of their own


def rules_of(kind: str, **rules: object) -> tuple[NameRule, ...]:
    """The rules of one block, compiled."""
    return compile_rules(AllowConfig.model_validate({"roles": ["operator"], kind: rules}), VARIABLES)


def rule_of(kind: str, **rules: object) -> NameRule:
    """The one rule of a block."""
    [rule] = rules_of(kind, **rules)
    return rule


def name_of(kind: Kind, value: str) -> Name:
    """A name, if this can be one; else another example is wanted."""
    try:
        return make(kind, value)
    except BadRequest:
        assume(False)
        raise


BOUND = {
    "dns under": (
        rule_of("dns", under=["{caller.x}.svc.{domain}"]),
        make(Kind.DNS, "a.xxx.svc.corp.example"),
        lambda value: value.split(".")[-4],
    ),
    "dns under, wildcards": (
        rule_of("dns", under=["{caller.x}.svc.{domain}"], wildcard=True),
        make(Kind.DNS, "*.xxx.svc.corp.example"),
        lambda value: value.split(".")[-4],
    ),
    "dns exact": (
        rule_of("dns", exact=["{caller.x}.{domain}"]),
        make(Kind.DNS, "xxx.corp.example"),
        lambda value: value.removesuffix(".corp.example"),
    ),
    "dns in a label": (
        rule_of("dns", exact=["api-{caller.x}.{domain}"]),
        make(Kind.DNS, "api-xxx.corp.example"),
        lambda value: value.removesuffix(".corp.example").removeprefix("api-"),
    ),
    "spiffe": (
        rule_of("uri", like=["spiffe://{trust_domain}/ns/{caller.x}/sa/*"]),
        make(Kind.URI, "spiffe://td.example/ns/xxx/sa/b"),
        lambda value: value.removeprefix("spiffe://td.example/ns/").rpartition("/sa/")[0],
    ),
    "spiffe, last": (
        rule_of("uri", like=["spiffe://{trust_domain}/{caller.x}"]),
        make(Kind.URI, "spiffe://td.example/xxx"),
        lambda value: value.removeprefix("spiffe://td.example/"),
    ),
    "spiffe, all below": (
        rule_of("uri", like=["spiffe://{trust_domain}/{caller.x}/**"]),
        make(Kind.URI, "spiffe://td.example/xxx/b/c"),
        lambda value: value.split("/")[3],
    ),
    "urn": (
        rule_of("uri", like=["urn:dev:{caller.x}:*"]),
        make(Kind.URI, "urn:dev:xxx:b"),
        lambda value: value.removeprefix("urn:dev:").rpartition(":")[0],
    ),
    "https": (
        rule_of("uri", like=["https://{domain}/{caller.x}/*"]),
        make(Kind.URI, "https://corp.example/xxx/b"),
        lambda value: value.removeprefix("https://corp.example/").rpartition("/")[0],
    ),
    "mail": (
        rule_of("email", exact=["{caller.x}@{domain}"]),
        make(Kind.EMAIL, "xxx@corp.example"),
        lambda value: value.partition("@")[0],
    ),
    "mail at": (
        rule_of("email", at=["{caller.x}.{domain}"]),
        make(Kind.EMAIL, "b@xxx.corp.example"),
        lambda value: value.partition("@")[2].removesuffix(".corp.example"),
    ),
}
"""Rules with one variable, a name with `xxx` in its place, and how to find again what stands there in any such name."""
bound = pytest.mark.parametrize(("rule", "shape", "part_of"), BOUND.values(), ids=BOUND.keys())


def filled(shape: Name, part: str) -> Name:
    """The name with something in the variable's place; `BadRequest` if there is no such name."""
    return make(shape.kind, shape.value.replace("xxx", part))


@bound
@given(value=VALUE, part=VALUE)
@settings(deadline=None, max_examples=80)
def test_an_attribute_never_widens_a_rule(
    rule: NameRule, shape: Name, part_of: Callable[[str], str], value: str, part: str
) -> None:
    """Whatever text an attribute is: what it allows has that very text in its place, and is a holder's as well."""
    for candidate in {value, part, f"a.{value}", f"{value}.a", f"{value}/a", f"a/{value}", "billing", "a-b"}:
        with suppress(BadRequest):
            name = filled(shape, candidate)
            if rule.allows(name, {"x": value}):
                assert part_of(name.value) == (value.lower() if name.kind is Kind.DNS else value)
                assert PLAIN.fullmatch(value)
                assert rule.allows(name, None)
                assert rule.allows(name, {"x": value, "y": "other"})


@bound
@given(value=PLAIN_VALUE, other=PLAIN_VALUE)
@settings(deadline=None, max_examples=60)
def test_a_plain_attribute_stands_for_itself(
    rule: NameRule, shape: Name, part_of: Callable[[str], str], value: str, other: str
) -> None:
    """A caller whose attribute is a plain word gets its own names, and not another word's."""
    try:
        name = filled(shape, value)
    except BadRequest:
        return
    assert rule.allows(name, {"x": part_of(name.value)})
    if other.lower() != value.lower():
        assert not rule.allows(name, {"x": other})


@bound
def test_without_its_attribute_a_caller_gets_nothing(
    rule: NameRule, shape: Name, part_of: Callable[[str], str]
) -> None:
    """A missing, an empty and a differently named attribute match no name."""
    for attributes in ({}, {"x": ""}, {"y": "a"}, {"caller.x": "a"}, {"X": "a"}):
        for part in ("a", "ab", "x"):
            assert not rule.allows(filled(shape, part), attributes)
    assert rule.is_bound


@bound
@given(part=VALUE)
@settings(deadline=None, max_examples=60)
def test_for_a_holder_a_variable_is_one_plain_segment(
    rule: NameRule, shape: Name, part_of: Callable[[str], str], part: str
) -> None:
    """Renewal reads `{caller.x}` as any one segment: a dot, a slash, a star or nothing is none."""
    try:
        name = filled(shape, part)
    except BadRequest:
        return
    assert rule.allows(name, None) == (PLAIN.fullmatch(part_of(name.value)) is not None)


@pytest.mark.parametrize("meta", METACHARACTERS)
def test_a_metacharacter_in_an_identity_matches_literally_or_not_at_all(meta: str) -> None:
    """Ids with any of `*()\\.%_'";` and the like are that text and never a pattern (row 23)."""
    for rule, shape, _ in BOUND.values():
        for value in (meta, f"a{meta}b", f"{meta}a", f"a{meta}", f".{meta}"):
            for part in ("a", "b", "ab", "aXb", "axxb", "a-b", "billing"):
                if part != value:
                    assert not rule.allows(filled(shape, part), {"x": value})


LITERAL = {
    "mail with a plus": ("email", {"exact": ["a+b@{domain}"]}, Kind.EMAIL, "a+b@corp.example"),
    "mail with a question mark": ("email", {"exact": ["ab?@{domain}"]}, Kind.EMAIL, "ab?@corp.example"),
    "mail with a star": ("email", {"exact": ["*@{domain}"]}, Kind.EMAIL, "*@corp.example"),
    "mail with bars": ("email", {"exact": ["a|b@{domain}"]}, Kind.EMAIL, "a|b@corp.example"),
    "URI with a query": (
        "uri",
        {"like": ["https://{domain}/a(b)+?c=[d]$"]},
        Kind.URI,
        "https://corp.example/a(b)+?c=[d]$",
    ),
    "URN with dots": ("uri", {"like": ["urn:dev:a.b"]}, Kind.URI, "urn:dev:a.b"),
    "name": ("dns", {"exact": ["a.b.{domain}"]}, Kind.DNS, "a.b.corp.example"),
    "wildcard": ("dns", {"exact": ["*.{domain}"]}, Kind.DNS, "*.corp.example"),
}


@pytest.mark.parametrize(("kind", "rules", "typed", "value"), LITERAL.values(), ids=LITERAL.keys())
@given(place=st.integers(0, 100), character=st.sampled_from("aXz09-._*+"))
@settings(deadline=None, max_examples=60)
def test_a_written_out_rule_allows_one_name(
    kind: str, rules: dict[str, object], typed: Kind, value: str, place: int, character: str
) -> None:
    """Every character of a rule stands for itself: the name with another in its place is another name."""
    rule = rule_of(kind, **rules)
    assert rule.allows(make(typed, value), {})
    place %= len(value)
    for other in (
        value[:place] + character + value[place + 1 :],
        value[:place] + value[place + 1 :],
        value + character,
    ):
        with suppress(BadRequest):
            name = make(typed, other)
            assert rule.allows(name, {}) == (name.value == value)


def test_an_installations_domain_is_literal() -> None:
    """A dot in the domain is a dot."""
    rule = rule_of("dns", under=["{domain}"])
    assert rule.allows(make(Kind.DNS, "a.corp.example"), {})
    assert not rule.allows(make(Kind.DNS, "a.corpxexample"), {})
    assert not rule.allows(make(Kind.DNS, "a.corp-example.example"), {})


@given(
    domain=DOMAIN,
    labels=st.lists(LABEL, max_size=3),
    other=DOMAIN,
    star=st.booleans(),
    wildcard=st.booleans(),
    join=st.sampled_from(["", ".", "-"]),
)
@example(domain="corp.example", labels=[], other="x.example", star=False, wildcard=True, join=".")
@example(domain="corp.example", labels=["evil"], other="x.example", star=False, wildcard=False, join="")
@settings(deadline=None, max_examples=150)
def test_under_a_domain_is_beneath_it(
    domain: str, labels: list[str], other: str, star: bool, wildcard: bool, join: str
) -> None:
    """Never the domain itself, a sibling, or a name that merely ends like it; a wildcard only when that is said."""
    rule = rule_of("dns", under=[domain], wildcard=wildcard)
    prefix = "*." if star else ""
    for tail in (domain, other, domain.partition(".")[2], f"{domain}.{other}", domain.replace(".", "-")):
        text = prefix + (".".join(labels) + join + tail if labels else tail)
        with suppress(BadRequest):
            name = make(Kind.DNS, text)
            assert rule.allows(name, {}) == _is_under(name.value, domain, wildcard=wildcard), name.value


def _is_under(name: str, domain: str, *, wildcard: bool) -> bool:
    labels, tail = name.split("."), domain.split(".")
    return len(labels) > len(tail) and labels[-len(tail) :] == tail and (wildcard or labels[0] != "*")


PATTERN = st.lists(st.one_of(st.text("abZ9.-", min_size=1, max_size=3), st.just("*")), min_size=1, max_size=4)
START = st.sampled_from(["spiffe://td.example", "https://h.example", "https://h.example:8443", "urn:dev"])


@given(
    start=START,
    other=START,
    pattern=PATTERN,
    is_open=st.booleans(),
    extra=st.lists(SEGMENT, max_size=3),
    stars=st.lists(SEGMENT, min_size=4, max_size=4),
    change=st.integers(0, 5),
)
@settings(deadline=None, max_examples=200)
def test_a_star_is_one_segment(
    start: str, other: str, pattern: list[str], is_open: bool, extra: list[str], stars: list[str], change: int
) -> None:
    """`*` never crosses a slash or a colon, a closing `**` is one segment or more, and nothing else is free."""
    mark = ":" if start.startswith("urn") else "/"
    written = [*pattern, "**"] if is_open else pattern
    try:
        rule = rule_of("uri", like=[mark.join((start, *written))])
    except ValueError:  # such as a SPIFFE ID with a segment of dots
        assume(False)
    parts = [stars[place] if piece == "*" else piece for place, piece in enumerate(pattern)] + extra
    if change == 0:
        parts = parts[:-1]
    elif change == 1:
        start = other
    name = name_of(Kind.URI, mark.join((start, *parts)))
    assert rule.allows(name, {}) == _fits(name.value, mark, rule.text.split(mark))


def _fits(value: str, mark: str, written: list[str]) -> bool:
    """Segment by segment; below `**` of a URN, slashes part the segments, as in every other URI."""
    has, open_end = value.split(mark), written[-1] == "**"
    wanted = written[:-1] if open_end else written
    if not all(_one(piece, part) for piece, part in zip(wanted, has, strict=False)) or len(has) < len(wanted):
        return False
    rest = has[len(wanted) :]
    if not open_end:
        return not rest
    return bool(rest) and (mark == "/" or len(rest) == 1) and all(map(_is_plain, "/".join(rest).split("/")))


def _one(piece: str, part: str) -> bool:
    return _is_plain(part) if piece == "*" else part == piece


def _is_plain(part: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._~-]+", part) is not None


@pytest.mark.parametrize("segment", [".", ".."])
def test_a_star_is_no_step_upward(segment: str) -> None:
    """Relative segments (RFC 3986 section 5.2.4) make a URI stand for another place than its rule says."""
    for like in ("https://{domain}/tenants/*/api", "https://{domain}/tenants/**"):
        rule = rule_of("uri", like=[like])
        assert rule.allows(make(Kind.URI, "https://corp.example/tenants/a/api"), {})
        assert not rule.allows(make(Kind.URI, f"https://corp.example/tenants/{segment}/api"), {})


ALL_RULES = {
    "dns": {"exact": ["localhost", "a.{caller.x}.{domain}"], "under": ["{domain}", "{caller.y}.{domain}"]},
    "ip": {"within": ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32", "0.0.0.0/0"]},
    "uri": {"like": ["spiffe://{trust_domain}/ns/{caller.x}/sa/*", "urn:dev:*:*", "https://{domain}/**", "urn:a:b"]},
    "email": {"exact": ["{caller.x}@{domain}", "root@{domain}"], "at": ["{domain}", "{caller.y}.{domain}"]},
}


@pytest.mark.parametrize("kind", ALL_RULES)
def test_a_rule_allows_its_own_sample(kind: str) -> None:
    """The sample is a name that the rule covers for a caller whose attributes are all `a`, and of the rule's kind."""
    for rule in rules_of(kind, **ALL_RULES[kind]):
        assert rule.sample.kind is rule.kind is Kind(kind)
        assert rule.allows(rule.sample, {"x": "a", "y": "a"})
        assert rule.allows(rule.sample, None)


@given(domain=DOMAIN, path=st.lists(st.one_of(SEGMENT, st.just("**")), max_size=4), wildcard=st.booleans())
@settings(deadline=None, max_examples=100)
def test_a_rule_that_compiles_allows_its_own_sample(domain: str, path: list[str], wildcard: bool) -> None:
    """No rule is taken into service that can match nothing."""
    written: list[Mapping[str, object]] = [
        {"dns": {"exact": [domain], "under": [domain], "wildcard": wildcard}},
        {"email": {"at": [domain], "exact": [f"a@{domain}"]}},
        {"uri": {"like": ["/".join((f"spiffe://{domain}", *path))]}},
        {"uri": {"like": ["/".join((f"https://{domain}", *path))]}},
        {"uri": {"like": [":".join(("urn", "a", *path))]}},
    ]
    for block in written:
        with suppress(ValueError):
            for rule in compile_rules(AllowConfig.model_validate({"roles": ["operator"], **block}), VARIABLES):
                assert rule.allows(rule.sample, {"x": "a"})


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("dns", {"exact": ["API.{domain}"]}),
        ("dns", {"under": ["Svc.{domain}"]}),
        ("email", {"at": ["Corp.Example"]}),
        ("uri", {"like": ["HTTPS://h.example/*"]}),
    ],
)
def test_a_rule_in_capitals_is_no_rule_without_effect(kind: str, rules: dict[str, object]) -> None:
    """Whoever writes `Example.COM` in a profile means the domain; a rule that can match nothing is not taken."""
    try:
        rule = rule_of(kind, **rules)
    except ValueError:
        return
    assert rule.allows(rule.sample, {})


NAMES = [
    *(make(Kind.DNS, value) for value in ("localhost", "a.corp.example", "a.a.corp.example", "b.a.corp.example")),
    *(make(Kind.EMAIL, value) for value in ("root@corp.example", "a@corp.example", "b@a.corp.example")),
    *(make(Kind.URI, value) for value in ("spiffe://td.example/ns/a/sa/b", "urn:dev:a:b", "https://corp.example/a")),
    *(make(Kind.URI, value) for value in ("urn:a:b", "dns:a.corp.example", "mailto:root@corp.example", "ip:10.0.0.1")),
    *(make(Kind.IP, value) for value in ("10.1.2.3", "fd00::1", "192.0.2.7", "::ffff:10.0.0.1")),
]


def test_a_rule_of_one_kind_never_allows_another() -> None:
    """A name and a rule of different kinds never meet, whatever their text (row 41)."""
    for kind, written in ALL_RULES.items():
        for rule in rules_of(kind, **written):
            for name in NAMES:
                for other in Kind:
                    if other is not rule.kind:
                        assert not rule.allows(Name(other, name.value), {"x": "a", "y": "a"})
                        assert not rule.allows(Name(other, name.value), None)
    for kind, written in ALL_RULES.items():
        assert any(rule.allows(name, {"x": "a", "y": "a"}) for rule in rules_of(kind, **written) for name in NAMES)


@given(
    network=st.one_of(st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="fd00::/8")),
    bits=st.integers(0, 32),
    address=st.one_of(st.ip_addresses(), st.ip_addresses(v=4, network="10.0.0.0/8")),
)
@settings(deadline=None, max_examples=100)
def test_an_address_is_inside_a_network_by_its_bits(network: object, bits: int, address: object) -> None:
    """The first bits agree, and the family: an IPv4 address inside an IPv6 one is not an IPv4 address."""
    net = ip_network(f"{network}/{bits}", strict=False)
    rule = rule_of("ip", within=[str(net)])
    other = ip_address(str(address))
    shift = net.max_prefixlen - net.prefixlen
    same = other.version == net.version and int(other) >> shift == int(net.network_address) >> shift
    assert rule.allows(make(Kind.IP, str(other)), {}) == same
    mapped = make(Kind.IP, f"::ffff:{ip_address(int(other) % 2**32)}")
    assert not rule_of("ip", within=["0.0.0.0/0"]).allows(mapped, {})


@given(st.dictionaries(st.text(max_size=5), VALUE, max_size=3))
@settings(deadline=None)
def test_rules_without_variables_do_not_ask_who_asks(attributes: dict[str, str]) -> None:
    """An attribute, of any name, changes nothing about a rule that does not mention it."""
    for kind, written in ALL_RULES.items():
        for rule in rules_of(kind, **written):
            if not rule.is_bound:
                for name in NAMES:
                    assert rule.allows(name, attributes) == rule.allows(name, None) == rule.allows(name, {})


def test_the_rules_of_the_shipped_profiles_are_what_a_refusal_shows() -> None:
    """A rule's text has the installation's domain filled in and the caller's attributes left as places."""
    texts = [rule.text for rule in rules_of("uri", like=["spiffe://{trust_domain}/ns/{caller.namespace}/sa/*"])]
    assert texts == ["spiffe://td.example/ns/{caller.namespace}/sa/*"]
    assert rule_of("dns", under=["edge.{domain}"], wildcard=True).text == "under edge.corp.example, wildcards too"
    assert rule_of("ip", within=["10.0.0.0/8"]).text == "within 10.0.0.0/8"
    assert rig.VARIABLES["domain"] != VARIABLES["domain"]
