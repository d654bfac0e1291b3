"""Profiles are read whole or not at all, say what is wrong with them, and do not hide what is dangerous in them."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.access import Role
from ca.errors import Misconfigured, NotFound
from ca.profiles.collection import EXAMPLES_SUFFIX, Profiles, profile_files
from ca.profiles.config import LONGEST, format_duration, parse_duration
from ca.profiles.dangers import find_dangers, unaccepted
from ca.profiles.examples import Examples, Outcome, read_examples, run_examples
from ca.profiles.profile import Profile, read_profile
from ca.specimen import lint_profile
from ca.x509.deeplint import is_available
from ca.x509.names import parse
from tests import rig

SHIPPED = rig.CONFIG / "profiles"
NAMES = [path.stem for path in profile_files(SHIPPED)]
SERVER = """
description = "a server"
issuer = "issuing"
lifetime = "1d"
longest = "7d"
keys = ["P-256"]
[usage]
extended = ["server_auth"]
[[allow]]
roles = ["operator"]
dns.under = ["{domain}"]
"""
CLIENT = SERVER.replace("server_auth", "client_auth")
REQUESTED = CLIENT.replace("operator", "requester")
AUTHORITY = SERVER.partition("[usage]")[0] + 'kind = "authority"\n'
OCSP = AUTHORITY.replace("authority", "ocsp")


def read(text: str) -> Profile:
    """A profile named `test` of this text."""
    return read_profile("test", text, rig.VARIABLES)


def refused(text: str) -> str:
    """What is said of a file that is wrong."""
    with pytest.raises(Misconfigured) as raised:
        read(text)
    assert raised.value.code == "bad-profile"
    return raised.value.message


def codes(text: str) -> set[str]:
    """The dangers of a profile."""
    return {danger.code for danger in find_dangers(read(text))}


@pytest.fixture(scope="module")
def shipped() -> Profiles:
    """The profiles that come with the product."""
    return Profiles(SHIPPED, rig.VARIABLES)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with two profiles and their examples."""
    for name in ("server", "client"):
        (tmp_path / f"{name}.toml").write_text(SERVER if name == "server" else CLIENT)
        (tmp_path / f"{name}{EXAMPLES_SUFFIX}").write_text("this is not read = [")
    return tmp_path


def touch(path: Path, text: str) -> None:
    """Write a file so that its time differs, even on a coarse clock."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    if path.stat().st_mtime_ns == before:
        os.utime(path, ns=(before + 1, before + 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_makes_sound_certificates(name: str, shipped: Profiles) -> None:
    """For every key type it allows, our lint and pkilint find nothing wrong with what it makes."""
    assert is_available(), "pkilint is part of the development environment"
    assert lint_profile(shipped[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_does_what_its_examples_say(name: str, shipped: Profiles) -> None:
    """Each has requests that are allowed and requests that are refused, and each outcome is the one expected."""
    examples = read_examples(SHIPPED, name, rig.VARIABLES)
    assert examples.allowed
    assert examples.refused
    assert [outcome for outcome in run_examples(shipped[name], examples) if not outcome.is_as_expected] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_has_no_danger_that_nobody_wants(name: str, shipped: Profiles) -> None:
    """What it accepts is there; an acceptance of nothing would hide the next danger of that name."""
    found = {danger.code for danger in find_dangers(shipped[name])}
    assert found == set(shipped[name].config.dangers.accepted)


def test_the_profiles_are_the_files(shipped: Profiles) -> None:
    """One profile a file, examples left out; another name is not found, and the hint says which there are."""
    assert [profile.name for profile in shipped] == NAMES
    assert len(NAMES) >= 6
    with pytest.raises(NotFound) as raised:
        shipped["serverr"]
    assert "server" in str(raised.value.hint)


WRONG = {
    "unknown key": (SERVER.replace("issuer =", "isuer ="), "isuer"),
    "unknown table": (SERVER + "[extensions]\ncustom = 1\n", "extensions"),
    "unknown kind of rule": (SERVER.replace("dns.under", "dsn.under"), "allow.0.dsn"),
    "unknown rule": (SERVER.replace("dns.under", "dns.beneath"), "allow.0.dns.beneath"),
    "rule of another kind": (SERVER.replace("dns.under", "ip.under"), "allow.0.ip.under"),
    "rule that is no list": (SERVER.replace('["{domain}"]', '"{domain}"'), "allow.0.dns.under"),
    "unknown role": (SERVER.replace("operator", "operators"), "allow.0.roles.0"),
    "no role": (SERVER.replace('["operator"]', "[]"), "allow.0.roles"),
    "unknown key type": (SERVER.replace("P-256", "P-521"), "keys.0"),
    "SHA-1 by another name": (SERVER.replace("P-256", "RSA-1024"), "keys.0"),
    "no key type": (SERVER.replace('["P-256"]', "[]"), "keys"),
    "unknown usage": (SERVER.replace("server_auth", "serverAuth"), "usage.extended.0"),
    "usage of a CA": (SERVER.replace("extended =", 'key = ["key_cert_sign"]\nextended ='), "usage.key.0"),
    "no description": (SERVER.replace('"a server"', '""'), "description"),
    "no issuer": (SERVER.replace('issuer = "issuing"\n', ""), "issuer"),
    "no lifetime": (SERVER.replace('lifetime = "1d"\n', ""), "lifetime"),
    "lifetime as a number": (SERVER.replace('"1d"', "86400"), "lifetime"),
    "lifetime without a unit": (SERVER.replace('"1d"', '"1"'), "lifetime"),
    "lifetime in years": (SERVER.replace('"1d"', '"1y"'), "lifetime"),
    "no lifetime at all": (SERVER.replace('"1d"', '"0d"'), "lifetime"),
    "negative lifetime": (SERVER.replace('"1d"', '"-1d"'), "lifetime"),
    "lifetime with a blank": (SERVER.replace('"1d"', '"1 d"'), "lifetime"),
    "lifetime above longest": (SERVER.replace('"1d"', '"8d"'), "longest"),
    "backdate": (SERVER.replace("keys =", 'backdate = "soon"\nkeys ='), "backdate"),
    "more names than a hundred": (SERVER + "[names]\nmaximum = 101\n", "names.maximum"),
    "names the wrong way round": (SERVER + "[names]\nminimum = 5\nmaximum = 4\n", "names.minimum"),
    "unknown revocation": (SERVER + '[revocation]\ncheck = "ocsp"\n', "revocation.check"),
    "unknown kind": (SERVER.replace("keys =", 'kind = "root"\nkeys ='), "kind"),
    "unknown variable": (SERVER.replace("{domain}", "{domian}"), "{domian}"),
    "empty variable name": (SERVER.replace("{domain}", "{}"), "{}"),
    "variable that is no text": (SERVER.replace("{domain}", "{1}"), "{1}"),
    "bad domain": (SERVER.replace("{domain}", "a..b"), "a..b"),
    "domain with a star": (SERVER.replace("{domain}", "*.{domain}"), "*.{domain}"),
    "domain with a trailing dot": (SERVER.replace("{domain}", "{domain}."), "{domain}."),
    "bad network": (SERVER.replace('dns.under = ["{domain}"]', 'ip.within = ["10.0.0.1/8"]'), "10.0.0.1/8"),
    "bad address": (SERVER.replace('dns.under = ["{domain}"]', 'email.exact = ["ada"]'), "ada"),
    "bad URI": (SERVER.replace('dns.under = ["{domain}"]', 'uri.like = ["spiffe:td/*"]'), "spiffe:td/"),
    "star in a scheme": (SERVER.replace('dns.under = ["{domain}"]', 'uri.like = ["*://a/b"]'), "*://a/b"),
    "star for a host": (SERVER.replace('dns.under = ["{domain}"]', 'uri.like = ["https://*/b"]'), "https://*/b"),
    "star in a host": (SERVER.replace('dns.under = ["{domain}"]', 'uri.like = ["https://a*.b/c"]'), "https://a*.b/c"),
    "star in a segment": (SERVER.replace('dns.under = ["{domain}"]', 'uri.like = ["spiffe://a/b*"]'), "spiffe://a/b*"),
    "stars in the middle": (SERVER.replace('dns.under = ["{domain}"]', 'uri.like = ["urn:**:a"]'), "urn:**:a"),
    "three stars": (SERVER.replace('dns.under = ["{domain}"]', 'uri.like = ["spiffe://a/***"]'), "spiffe://a/***"),
    "star in the domain": (SERVER.replace('dns.under = ["{domain}"]', 'uri.like = ["spiffe://*/a"]'), "spiffe://*/a"),
    "not TOML": ("description = \n", "line 1"),
    "a key twice": (SERVER.replace("issuer =", 'issuer = "a"\nissuer ='), "line 4"),
    "empty": ("", "description"),
}


@pytest.mark.parametrize(("text", "key"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_refused_with_its_name_and_the_key(text: str, key: str) -> None:
    """A misspelt rule is not a missing rule: the file is refused, and the message names the file and the place."""
    message = refused(text)
    assert message.startswith("profile test: ")
    assert key in message


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """Three mistakes, one message."""
    message = refused(SERVER.replace("P-256", "P-521").replace('"1d"', '"1y"').replace("operator", "root"))
    assert {"keys.0", "lifetime", "allow.0.roles.0"} <= set(message.replace(":", " ").split())


@pytest.mark.parametrize(
    "rule",
    [
        *('email.exact = ["{caller.user1}@{domain}"]', 'email.exact = ["{Caller.user}@{domain}"]'),
        *('uri.like = ["urn:dev:{caller.fleet-id}:*"]', 'uri.like = ["https://a.example/{caller.ns1}/*"]'),
    ],
)
def test_a_misspelt_variable_is_not_literal_text(rule: str) -> None:
    """Where braces are legal characters of a name, what is not a variable in them is a mistake all the same."""
    assert "caller" in refused(SERVER.replace('dns.under = ["{domain}"]', rule)).lower()


@pytest.mark.parametrize(
    ("rule", "covered", "beside"),
    [
        ('dns.exact = ["a.{domain}", "*.{domain}"]', "dns:*.example.internal", "dns:b.example.internal"),
        ('dns.under = ["{caller.x}.{domain}"]', "dns:a.one.example.internal", "dns:a.two.example.internal"),
        ('ip.within = ["::1/128"]', "ip:::1", "ip:::2"),
        ('uri.like = ["spiffe://{trust_domain}/**"]', "uri:spiffe://example.internal/a/b", "uri:spiffe://other/a/b"),
        ('uri.like = ["urn:dev:*:*"]', "uri:urn:dev:mac:1", "uri:urn:dev:mac:1:2"),
        ('email.at = ["{domain}"]', "email:a@example.internal", "email:a@example.com"),
        (
            'email.exact = ["{caller.x}.{caller.y}@{domain}"]',
            "email:one.2@example.internal",
            "email:1@example.internal",
        ),
        (
            'uri.like = ["https://{domain}/{caller.x}/*/**"]',
            "uri:https://example.internal/one/a/b/c",
            "uri:https://example.internal/two/a/b",
        ),
    ],
)
def test_a_right_rule_is_taken(rule: str, covered: str, beside: str) -> None:
    """Every form of rule that the manual has: it covers what it says, and not its neighbour."""
    profile = read(SERVER.replace('dns.under = ["{domain}"]', rule))
    caller = {"x": "one", "y": "2"}
    assert profile.allows_name(parse(covered), Role.OPERATOR, caller)
    assert not profile.allows_name(parse(beside), Role.OPERATOR, caller)


@given(st.integers(1, 99_999), st.sampled_from("smhdw"))
@settings(deadline=None)
def test_durations_are_written_as_they_are_read(number: int, unit: str) -> None:
    """Whatever a file says, what is shown says the same, and could stand in a file."""
    try:
        duration = parse_duration(f"{number}{unit}")
    except ValueError:
        assert number * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit] > LONGEST.total_seconds()
        return
    assert parse_duration(format_duration(duration)) == duration


@given(st.one_of(st.text(max_size=8), st.integers(), st.none(), st.floats(), st.just("1d\n"), st.just("١d")))
@settings(deadline=None)
def test_only_durations_are_durations(text: object) -> None:
    """A number and one unit, nothing else."""
    plain = isinstance(text, str) and text.isascii() and text[-1:] in {*"smhdw"} and text[:-1].isdigit()
    if plain and 0 < len(str(text)) <= 7 and not str(text).startswith("0"):
        with contextlib.suppress(ValueError):  # of one that is too long
            assert timedelta(0) < parse_duration(text) <= LONGEST
        return
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


DANGERS = {
    "no-revocation-for-long-life": SERVER.replace('"7d"', '"8d"') + '[revocation]\ncheck = "none"\n',
    "authority-for-roles": AUTHORITY + SERVER.partition("[[allow]]")[1] + SERVER.partition("[[allow]]")[2],
    "ocsp-with-usages": OCSP + '[usage]\nextended = ["server_auth"]\n',
    "leaf-signs-ocsp": SERVER.replace('"server_auth"', '"server_auth", "ocsp_signing"'),
    "any-usage": SERVER.replace('"server_auth"', ""),
    "allows-nothing": SERVER.replace('dns.under = ["{domain}"]', ""),
    "role-cannot-issue": SERVER.replace('"operator"', '"operator", "auditor"'),
    "requester-chooses-identity": REQUESTED,
    "wide-network": SERVER.replace('dns.under = ["{domain}"]', 'ip.within = ["0.0.0.0/0"]'),
    "whole-top-level": SERVER.replace("{domain}", "internal"),
    "client-wildcard": CLIENT + "dns.wildcard = true\n",
    "very-long-life": SERVER.replace('"7d"', '"399d"'),
    "long-backdate": SERVER.replace("keys =", 'backdate = "61m"\nkeys ='),
}
ERRORS = {
    *("no-revocation-for-long-life", "authority-for-roles", "ocsp-with-usages", "leaf-signs-ocsp", "any-usage"),
    *("allows-nothing", "role-cannot-issue"),
}


def test_the_plain_profiles_have_no_danger() -> None:
    """What the dangerous ones are made from is harmless."""
    for text in (SERVER, CLIENT, AUTHORITY, OCSP):
        assert codes(text) == set()


@pytest.mark.parametrize(("code", "text"), DANGERS.items(), ids=DANGERS.keys())
def test_a_danger_is_found(code: str, text: str, tmp_path: Path) -> None:
    """The smallest profile that has a danger has this one alone, and is not loaded; the message names it."""
    assert codes(text) == {code}
    (tmp_path / "test.toml").write_text(text)
    with pytest.raises(Misconfigured) as raised:
        Profiles(tmp_path, rig.VARIABLES)
    assert raised.value.code == "dangerous-profile"
    assert f"test is dangerous: {code}" in raised.value.message


@pytest.mark.parametrize(("code", "text"), DANGERS.items(), ids=DANGERS.keys())
def test_a_danger_can_be_accepted_unless_it_is_an_error(code: str, text: str, tmp_path: Path) -> None:
    """Accepting a danger by its code loads the profile; some cannot be accepted; another's code does not help."""
    accepting = text.replace("description", f'dangers.accepted = ["{code}"]\ndescription')
    assert {danger.code for danger in unaccepted(read(accepting))} == ({code} & ERRORS)
    other = text.replace("description", 'dangers.accepted = ["another"]\ndescription')
    assert {danger.code for danger in unaccepted(read(other))} == {code}


@pytest.mark.parametrize("network", ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/8", "::/0", "2000::/3"])
def test_a_wide_network_is_found(network: str) -> None:
    """A large part of the internet is one, also where its first and last address are private."""
    assert "wide-network" in codes(SERVER.replace('dns.under = ["{domain}"]', f'ip.within = ["{network}"]'))


@pytest.mark.parametrize("network", ["10.0.0.0/8", "fd00::/8", "127.0.0.0/8", "203.0.113.0/24", "::1/128"])
def test_a_private_network_is_not_wide(network: str) -> None:
    """What companies number their hosts from is no danger."""
    assert codes(SERVER.replace('dns.under = ["{domain}"]', f'ip.within = ["{network}"]')) == set()


@pytest.mark.parametrize(
    "rule",
    [
        *('uri.like = ["spiffe://{trust_domain}/**"]', 'uri.like = ["urn:dev:mac:*"]', 'email.at = ["{domain}"]'),
        *('dns.exact = ["*.{domain}"]', 'ip.within = ["10.0.0.0/8"]'),
    ],
)
def test_a_requester_that_chooses_whom_to_be_is_a_danger(rule: str) -> None:
    """Every kind of open rule is flagged for requesters of client certificates (row 18), and for them alone."""
    rest = REQUESTED.partition("dns.under")[0] + rule
    assert "requester-chooses-identity" in codes(rest)
    assert "requester-chooses-identity" not in codes(rest.replace("requester", "operator"))
    assert "requester-chooses-identity" not in codes(rest.replace("client_auth", "server_auth"))


@pytest.mark.parametrize(
    "rule", ['uri.like = ["spiffe://{trust_domain}/ns/{caller.ns}/**"]', 'dns.under = ["{caller.ns}.{domain}"]']
)
def test_a_requester_that_is_bound_is_no_danger(rule: str) -> None:
    """A rule that depends on who asks is what requesters are for."""
    assert codes(REQUESTED.partition("dns.under")[0] + rule) == set()


@pytest.mark.parametrize("rule", ['dns.under = ["{caller.zone}"]', 'dns.exact = ["{caller.host}"]'])
def test_an_attribute_alone_is_a_whole_top_level(rule: str) -> None:
    """A rule whose domain is nothing but an attribute covers a top-level domain, or a bare host name."""
    assert "whole-top-level" in codes(SERVER.partition("dns.under")[0] + rule)


def test_a_wildcard_that_is_written_out_is_one() -> None:
    """A client certificate for `*.clients...` is nobody's, however the profile came to allow it."""
    assert "client-wildcard" in codes(CLIENT.partition("dns.under")[0] + 'dns.exact = ["*.clients.{domain}"]')


def test_consumers_cannot_issue_either() -> None:
    """A profile for a role that `ca/access` does not let issue is a mistake, whichever role it is."""
    assert "role-cannot-issue" in codes(SERVER.replace("operator", "consumer"))


def test_reload_tells_what_is_new_or_changed(directory: Path) -> None:
    """What was touched without being changed is not new; what went away is gone."""
    profiles = Profiles(directory, rig.VARIABLES)
    before = profiles["client"]
    assert [profile.name for profile in profiles.reload()] == []
    touch(directory / "server.toml", SERVER.replace("a server", "another server"))
    touch(directory / "third.toml", CLIENT)
    touch(directory / "client.toml", CLIENT)
    assert [profile.name for profile in profiles.reload()] == ["server", "third"]
    assert profiles["client"].sha256 == before.sha256
    (directory / "third.toml").unlink()
    profiles.reload()
    assert [profile.name for profile in profiles] == ["client", "server"]


@pytest.mark.parametrize("wrong", ["", "[", SERVER.replace("issuer", "isuer"), DANGERS["any-usage"]])
def test_reload_is_all_or_nothing(directory: Path, wrong: str) -> None:
    """If one file is wrong, nothing changes: the old profiles stay in force, the good changes wait."""
    profiles = Profiles(directory, rig.VARIABLES)
    before = list(profiles)
    touch(directory / "client.toml", CLIENT.replace("a server", "a client"))
    touch(directory / "server.toml", wrong)
    touch(directory / "another.toml", SERVER)
    with pytest.raises(Misconfigured):
        profiles.reload()
    assert list(profiles) == before
    touch(directory / "server.toml", SERVER)
    assert [profile.name for profile in profiles.reload()] == ["another", "client"]


def test_a_directory_without_profiles_is_refused(directory: Path) -> None:
    """No profile at all is a mistake in the settings, also when it is made later."""
    profiles = Profiles(directory, rig.VARIABLES)
    for path in profile_files(directory):
        path.unlink()
    for attempt in (profiles.reload, lambda: Profiles(directory / "nowhere", {})):
        with pytest.raises(Misconfigured, match="no profiles"):
            attempt()
    assert profiles["server"].name == "server"


def test_changes_are_noticed(directory: Path) -> None:
    """A file that was added, changed, touched or removed is a change; a look at it, and its examples, are none."""
    profiles = Profiles(directory, rig.VARIABLES)
    steps = [
        lambda: touch(directory / "server.toml", SERVER.replace("a server", "b server")),
        lambda: touch(directory / "server.toml", SERVER.replace("a server", "b server")),
        lambda: touch(directory / "new.toml", SERVER),
        (directory / "new.toml").unlink,
        lambda: (directory / "server.toml").rename(directory / "renamed.toml"),
    ]
    for step in steps:
        assert not profiles.has_changed()
        step()
        assert profiles.has_changed()
        profiles.reload()
    touch(directory / f"client{EXAMPLES_SUFFIX}", "")
    touch(directory / "README.md", "")
    assert not profiles.has_changed()


@pytest.mark.parametrize("name", ["Server.toml", "a b.toml", "a_b.toml", "a.b.toml", "-a.toml", f"{'a' * 64}.toml"])
def test_a_file_name_that_is_no_profile_name_is_refused(directory: Path, name: str) -> None:
    """Names are of a-z, 0-9 and hyphens, since they stand in URLs, commands and the ledger."""
    (directory / name).write_text(SERVER)
    with pytest.raises(Misconfigured, match="profile's name"):
        Profiles(directory, rig.VARIABLES)


def test_a_file_that_is_not_text_is_misconfigured(directory: Path) -> None:
    """A profile that is not UTF-8 is wrong like any other, and named; a reload keeps the old ones."""
    (directory / "server.toml").write_bytes(SERVER.encode("utf-16"))
    with pytest.raises(Misconfigured, match="server"):
        Profiles(directory, rig.VARIABLES)


def test_a_domain_that_is_no_domain_is_misconfigured() -> None:
    """The installation's own variables are checked with the rules that they are put into."""
    for domain in ("", "*", "a..b", "exa mple", "a/b"):
        with pytest.raises(Misconfigured):
            read_profile("test", SERVER, {"domain": domain})


def test_roles_are_covered_as_the_manual_says() -> None:
    """An admin by what covers an operator, a holder by everything, the others by their own blocks."""
    text = SERVER + '[[allow]]\nroles = ["requester"]\ndns.under = ["own.{domain}"]\n'
    rules = {role: [rule.text for rule in found] for role, found in read(text).rules.items()}
    operator, requester = "under example.internal", "under own.example.internal"
    assert rules == {
        Role.ADMIN: [operator],
        Role.OPERATOR: [operator],
        Role.REQUESTER: [requester],
        Role.CONSUMER: [],
        Role.AUDITOR: [],
        Role.HOLDER: [operator, requester],
    }
    assert read(text).roles == {Role.ADMIN, Role.OPERATOR, Role.REQUESTER}


def test_wrong_examples_are_misconfigured(directory: Path) -> None:
    """An examples file that cannot be read is an error with its path; one that is missing is empty."""
    for text in ("this is = [", "[[allowed]]\nnames = []\n", "[[refused]]\nwhy = 'x'\n", "[[alowed]]\nwhy = 'x'\n"):
        (directory / f"server{EXAMPLES_SUFFIX}").write_text(text)
        with pytest.raises(Misconfigured) as raised:
            read_examples(directory, "server", {})
        assert str(directory) in raised.value.message
        assert raised.value.code == "bad-examples"
    assert read_examples(directory, "missing", {}) == Examples()


def test_an_example_that_does_not_hold_is_told() -> None:
    """The outcome has what was expected and what was found, all codes of it, a name that cannot be read included."""
    examples = Examples.model_validate(
        {
            "allowed": [{"why": "elsewhere", "names": ["a.elsewhere.example"], "lifetime": "8d"}],
            "refused": [
                {"why": "fine, really", "names": ["a.example.internal"], "because": ["name-not-allowed"]},
                {"why": "half of it", "names": ["a.b"], "lifetime": "8d", "because": ["name-not-allowed"]},
                {"why": "unreadable", "names": ["a..b"], "because": ["bad-name"]},
            ],
        }
    )
    outcomes: list[Outcome] = run_examples(read(SERVER), examples)
    both = ("lifetime-not-allowed", "name-not-allowed")
    assert [outcome.found for outcome in outcomes] == [both, (), both, ("bad-name",)]
    assert [outcome.is_as_expected for outcome in outcomes] == [False, False, False, True]
