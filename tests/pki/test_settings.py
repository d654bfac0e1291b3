"""Settings: each is documented with its default, comes from where it should, and is refused by name when wrong."""

from __future__ import annotations

import copy
import json
import re
import tomllib
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import BaseModel, SecretStr

from ca.backup.sealing import recipient_text
from ca.errors import Conflict, Misconfigured
from ca.profiles.config import format_duration, parse_duration
from pki.initialise import settings_text
from pki.product import Product
from pki.settings import FILE, Settings, load_settings, make_settings, state_directory
from tests import rig

TEXT = (rig.CONFIG / FILE).read_text()
SHIPPED = tomllib.loads(TEXT)
ORIGINAL = Settings()


def changed(key: str, value: Any) -> dict[str, Any]:
    """The content of the shipped file with one value changed or added."""
    content, (section, name) = copy.deepcopy(SHIPPED), key.split(".")
    content.setdefault(section, {})[name] = value
    return content


def plain(value: Any) -> Any:
    """A setting as a file would say it, secret or not."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def sections() -> dict[str, type[BaseModel]]:
    """The tables of the settings."""
    return {name: field.annotation for name, field in Settings.model_fields.items()}  # type: ignore[misc]


def test_the_file_and_the_code_know_the_same_settings() -> None:
    """Every setting stands in the shipped file, in its section, and the file has no other."""
    in_code = {name: set(table.model_fields) for name, table in sections().items()}
    assert {name: set(table) for name, table in SHIPPED.items()} == in_code


def test_the_file_says_the_defaults() -> None:
    """What the file says is what holds without it: somebody who reads the file knows the defaults."""
    assert make_settings(copy.deepcopy(SHIPPED)) == ORIGINAL
    for name, table in SHIPPED.items():
        for key, value in table.items():
            default = getattr(getattr(ORIGINAL, name), key)
            shown = format_duration(default) if isinstance(default, timedelta) else plain(default)
            is_duration = isinstance(default, timedelta) and value != "0s"  # none at all is written in one way
            expected = format_duration(parse_duration(value)) if is_duration else value
            assert shown == expected, f"{name}.{key}"


def test_every_setting_has_a_sentence() -> None:
    """Above each setting stands a comment that starts with a capital and ends with a full stop, of its own."""
    lines, comments = TEXT.splitlines(), []
    for number, line in enumerate(lines):
        if re.match(r"[a-z_0-9]+ = ", line):
            start = number
            while lines[start - 1].startswith("# "):
                start -= 1
            comment = " ".join(text.removeprefix("# ") for text in lines[start:number])
            assert re.fullmatch(r"[A-Z].*[.}]|debug, .* or error\.", comment), (line, comment)
            comments.append(comment)
    assert len(comments) == sum(len(table) for table in SHIPPED.values())
    assert len(set(comments)) == len(comments)
    assert "CERTWRIGHT_LISTEN__TLS" in TEXT


@pytest.mark.parametrize("key", [f"{name}.{key}" for name, table in SHIPPED.items() for key in table])
def test_every_setting_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """`CERTWRIGHT_SECTION__NAME` wins over the file, for each setting."""
    section, name = key.split(".")
    default = getattr(getattr(ORIGINAL, section), name)
    other: Any = {
        "installation.domain": "corp.example",
        "installation.trust_domain": "mesh.example",
        "installation.public_url": "http://pki.example",
        "store.url": "sqlite:////tmp/x.db",
        "keys.store": "pkcs11",
        "keys.passphrase_file": "elsewhere",
        "keys.pkcs11_uri": "pkcs11:token=hsm",
        "keys.pkcs11_module": "/usr/lib/hsm.so",
        "keys.pin_file": "/run/secrets/pin",
        "keys.ledger_key": "token",
        "listen.tls": "127.0.0.1:1",
        "listen.plain": "[::1]:2",
        "listen.names": ["ca.example"],
        "backup.to": "/srv/backups",
        "backup.recipient": recipient_text(X25519PrivateKey.from_private_bytes(bytes(32)).public_key()),
        "ledger.publish_to": "/srv/heads",
        "ledger.publish_every": "6h",
        "ledger.audit_every": "7d",
        "identity.certificates": [{"profile": "client", "name": "email:a@b.example", "role": "auditor"}],
        "identity.jwt": [
            {
                "name": "cluster",
                "issuer": "https://kube.example",
                "audience": "certwright",
                "algorithms": ["RS256"],
                "jwks_file": "keys.json",
                "grants": [{"where": {"sub": "system:serviceaccount:*:*"}, "role": "auditor"}],
            }
        ],
        "inventory.scan_sockets": 7,
        "renewals.fraction": 0.5,
        "renewals.key_type": "P-384",
        "renewals.issuers": ["letsencrypt", "internal"],
        "renewals.windows": [{"name": "nights", "start": "22:00:00", "end": "06:00:00"}],
        "renewals.programs": ["/usr/sbin/nginx"],
        "renewals.workers": 3,
        "issuers.acme": [{"name": "ca", "directory": "https://ca.example/directory"}],
        "solvers.http01": "127.0.0.1:5002",
        "solvers.webroots": [{"domain": "example.org", "directory": "/srv/www"}],
        "solvers.tls_alpn01": ":443",
        "solvers.rfc2136": [{"zone": "a.example", "server": "192.0.2.1", "key_name": "k", "key_file": "tsig"}],
        "solvers.providers": [{"zone": "a.example", "provider": "gandi", "secrets": {"auth_token": "gandi"}}],
        "solvers.resolvers": ["192.0.2.53:53"],
        "solvers.dns_persist": True,
        "events.webhooks": [{"name": "ops", "url": "https://ops.example/hook", "secret_file": "ops"}],
        "places.pushes": [{"name": "edge", "url": "https://edge.example/trust", "secret_file": "edge"}],
        "places.brokers": [{"name": "plant", "host": "broker.example", "reports": "certwright/reports"}],
        "places.stores": [
            {
                "name": "cdn",
                "endpoint": "https://s3.example",
                "bucket": "trust",
                "access_key_id": "id",
                "secret_file": "cdn",
            }
        ],
        "places.clusters": [{"name": "prod", "server": "https://kube.example:6443", "token_file": "token"}],
        "rotation.automatic": False,
        "rotation.consumers": 0.9,
        "log.level": "debug",
        "listen.drain": "9s",
        "listen.finish": "9s",
        "crl.refresh": "5h",
        "crl.backdate": "5h",
        "ocsp.refresh": "1h",
        "ocsp.backdate": "5m",
        "limits.issuing": 8,
        "limits.waiting": 50,
        "approval.two_persons": True,
        "approval.lifetime": "2h",
        "mail.server": "mail.example.org:587",
        "mail.security": "tls",
        "mail.username": "certwright",
        "mail.password_file": "mail-password",
        "mail.ca_file": "roots.pem",
        "mail.directory": "letters",
        "mail.sender": "PKI <pki@mail.example.org>",
        "mail.reply_to": "pki@example.org",
        "mail.bounces_to": "bounces@example.org",
        "mail.link_url": "https://ca.example.org:8443",
        "mail.digest_day": "fri",
        "mail.digest_hour": 7,
        "mail.when_healthy": "never",
        "mail.monthly_to": ["ada@example.org"],
        "mail.dkim_domain": "example.org",
        "mail.dkim_selector": "pki1",
        "mail.dkim_key_file": "dkim.pem",
        "dashboard.oidc": [
            {
                "name": "corp",
                "issuer": "https://login.example.org",
                "client_id": "certwright",
                "roles": [{"value": "pki", "role": "operator"}],
            }
        ],
    }.get(key, "5d" if isinstance(default, timedelta) else 2048)
    text = other if isinstance(other, str) else json.dumps(other)
    for variable, value in {**TOGETHER.get(key, {}), key: text}.items():
        monkeypatch.setenv(f"CERTWRIGHT_{variable.replace('.', '__').upper()}", value)
    found = getattr(getattr(make_settings(copy.deepcopy(SHIPPED)), section), name)
    if isinstance(default, timedelta):
        assert found == parse_duration(text)
    elif isinstance(other, list) and isinstance(other[0], dict):
        assert [each.model_dump(mode="json", exclude_unset=True, exclude_none=True) for each in found] == other
    else:
        assert plain(found) == other
    assert key == "keys.store" or found != default


DKIM = {
    "mail.sender": "pki@mail.example.org",
    "mail.dkim_domain": "example.org",
    "mail.dkim_selector": "x",
    "mail.dkim_key_file": "x",
}
TOGETHER = {
    "mail.username": {"mail.password_file": "x"},
    "mail.password_file": {"mail.username": "x"},
    **dict.fromkeys(("mail.dkim_domain", "mail.dkim_selector", "mail.dkim_key_file"), DKIM),
}
"""Settings that are refused without others."""


def test_the_environment_changes_one_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting from the environment leaves the others of its section as the file has them."""
    monkeypatch.setenv("CERTWRIGHT_LISTEN__TLS", "127.0.0.1:1")
    monkeypatch.setenv("CERTWRIGHT_SERVER", "https://elsewhere")
    monkeypatch.setenv("CERTWRIGHT_KEY", "/a/file")
    found = make_settings(changed("listen.plain", "127.0.0.1:2")).listen
    assert (found.tls, found.plain, found.lifetime) == ("127.0.0.1:1", "127.0.0.1:2", timedelta(days=7))


@pytest.mark.parametrize(("key", "value"), [("listen.plain", ":80"), ("crl.shards", 4), ("store.url", "sqlite:////x")])
def test_a_file_need_not_say_everything(key: str, value: object) -> None:
    """What a file leaves out keeps its default, in a section that it has and in one that it has not."""
    section, name = key.split(".")
    assert make_settings({section: {name: value}}) == make_settings(changed(key, value))


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting from the environment, over a file that does not have its section."""
    monkeypatch.setenv("CERTWRIGHT_LISTEN__TLS", "127.0.0.1:1")
    assert make_settings({}).listen.tls == "127.0.0.1:1"


GRANT = {"profile": "client", "name": "email:ada@example.internal", "role": "admin"}
WRONG = {
    "an unknown section": ("nonsense.key", 1, "nonsense"),
    "an argument of the library": ("_env_prefix.key", 1, "_env_prefix"),
    "a section in capitals": ("LISTEN.tls", ":1", "LISTEN"),
    "an unknown key": ("listen.tsl", ":8443", "listen.tsl"),
    "an address without a port": ("listen.tls", "localhost", "listen.tls"),
    "a port that is too large": ("listen.plain", "127.0.0.1:65536", "listen.plain"),
    "a port that is a word": ("listen.plain", "127.0.0.1:http", "listen.plain"),
    "a number for an address": ("listen.tls", 8443, "listen.tls"),
    "a text for a list": ("listen.names", "localhost", "listen.names"),
    "a duration without a unit": ("listen.lifetime", "7", "listen.lifetime"),
    "a number for a duration": ("crl.lifetime", 72, "crl.lifetime"),
    "no duration": ("crl.refresh", "0h", "crl.refresh"),
    "a unit that is none": ("warn.authority", "6months", "warn.authority"),
    "a word for a duration": ("store.keep_expired", "for ever", "store.keep_expired"),
    "too many shards": ("crl.shards", 4097, "crl.shards"),
    "shards below zero": ("crl.shards", -1, "crl.shards"),
    "a tiny body": ("limits.body_bytes", 10, "limits.body_bytes"),
    "a huge body": ("limits.body_bytes", 1 << 30, "limits.body_bytes"),
    "no rate": ("limits.per_second", 0, "limits.per_second"),
    "not a number": ("limits.anonymous_per_second", float("nan"), "limits.anonymous_per_second"),
    "no burst": ("limits.burst", 0, "limits.burst"),
    "a domain that is none": ("installation.domain", "a b", "installation.domain"),
    "a URL with a slash": ("installation.public_url", "http://a.example/", "installation.public_url"),
    "another scheme": ("installation.public_url", "ftp://a.example", "installation.public_url"),
    "a store of keys that is none": ("keys.store", "hsm", "keys.store"),
    "a level that is none": ("log.level", "loud", "log.level"),
    "a role that none can have": ("identity.certificates", [{**GRANT, "role": "holder"}], "identity.certificates"),
    "a role that does not exist": ("identity.certificates", [{**GRANT, "role": "root"}], "identity.certificates"),
    "a mail server without a port": ("mail.server", "mail.example.org", "mail.server"),
    "a mail server whose port is none": ("mail.server", "mail.example.org:70000", "mail.server"),
    "a mail server that is a URL": ("mail.server", "smtps://mail.example.org:465", "mail.server"),
    "a mail server that is two lines": ("mail.server", "mail.example.org\r\nQUIT:25", "mail.server"),
    "mail in the clear": ("mail.security", "plain", "mail.security"),
    "a sender that is none": ("mail.sender", "Certwright", "mail.sender"),
    "a sender that adds a header": ("mail.sender", "C <c@example.org>\r\nBcc: x@example.org", "mail.sender"),
    "a sender who is two": ("mail.sender", "a@example.org, b@example.org", "mail.sender"),
    "a selector that leads elsewhere": ("mail.dkim_selector", "x._domainkey", "mail.dkim_selector"),
    "a digest at no hour": ("mail.digest_hour", 24, "mail.digest_hour"),
    "half a grant": ("identity.certificates", [{"profile": "client"}], "identity.certificates"),
    "a grant with more": ("identity.certificates", [{**GRANT, "until": "1d"}], "identity.certificates"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_named(what: str) -> None:
    """Whatever is wrong with a setting, it is refused, and the message names the key and the file."""
    key, value, named = WRONG[what]
    with pytest.raises(Misconfigured) as refused:
        make_settings(changed(key, value), source="/some/certwright.toml")
    assert refused.value.message.startswith("/some/certwright.toml: ")
    assert named in refused.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("installation.trust_domain", "UPPER/../case"),
        ("installation.trust_domain", "spiffe://example.internal"),
        ("installation.trust_domain", "example.internal/path"),
        *(
            ("installation.public_url", f"http://{rest}")
            for rest in (
                "a b",
                "",
                ":80",
                "a:",
                "a:0",
                "a:port",
                "*.a",
                "u:p@a",
                "a?b",
                "a#b",
                "a_b",
                "[::1",
                "münchen",
            )
        ),
        ("crl.refresh", "96h"),
        ("crl.backdate", "96h"),
        ("ocsp.refresh", "3h"),
        ("ocsp.backdate", "3h"),
        ("listen.names", ["not a name!"]),
        ("listen.names", []),
        ("limits.per_second", float("inf")),
        ("identity.certificates", [{**GRANT, "name": "not a name!"}]),
    ],
)
def test_a_setting_that_cannot_work_is_refused(key: str, value: object) -> None:
    """What would stop the server, or everybody who checks a CRL, later on is refused when it is read."""
    with pytest.raises(Misconfigured, match=key):
        make_settings(changed(key, value))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"server": "mail.example:25", "directory": "letters"}, "not both"),
        ({"server": "mail.example:25", "security": "none"}, "without TLS"),
        ({"server": "192.0.2.1:25", "security": "none"}, "without TLS"),
        ({"server": "127.0.0.1:25", "security": "none", "username": "a", "password_file": "b"}, "no password"),
        ({"server": "mail.example:25", "username": "a"}, "need each other"),
        ({"server": "mail.example:25", "password_file": "b"}, "need each other"),
        ({"dkim_domain": "example.org"}, "all three"),
        ({**DKIM, "sender": "pki@example.com"}, "says nothing about"),
        ({**DKIM, "sender": "pki@notexample.org"}, "says nothing about"),
    ],
)
def test_settings_of_mail_fit_together(values: dict[str, Any], why: str) -> None:
    """What would send a password or a letter in the clear, or sign for nobody, is refused before there is a letter."""
    made = copy.deepcopy(SHIPPED)
    made["mail"] |= {name.removeprefix("mail."): value for name, value in values.items()}
    with pytest.raises(Misconfigured, match=why):
        make_settings(made)


def test_mail_in_the_clear_stays_on_this_machine() -> None:
    """A server on loopback may be spoken to without TLS."""
    for server in ("127.0.0.1:25", "localhost:25", "[::1]:25"):
        content = changed("mail.server", server)
        content["mail"]["security"] = "none"
        assert make_settings(content).mail.server == server


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("LISTEN__TSL", ":1", "listen.tsl"),
        ("LISTEN__TLS", "", "listen.tls"),
        ("CRL__LIFETIME", "soon", "crl.lifetime"),
        ("LISTEN__NAMES", "localhost", r"listen\.names.*JSON"),
        ("IDENTITY__CERTIFICATES", "[{", r"identity\.certificates.*JSON"),
        ("LISTEN", ":8443", "listen .*JSON"),
        ("LISTEN", "[1]", "listen: this is a section"),
        ("LISTN__TLS", ":8443", r"listn\.tls"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str) -> None:
    """A setting that is wrong in the environment is refused like one in the file."""
    monkeypatch.setenv(f"CERTWRIGHT_{variable}", value)
    with pytest.raises(Misconfigured, match=named):
        make_settings(copy.deepcopy(SHIPPED))


def test_everything_wrong_is_said_at_once() -> None:
    """Two mistakes are reported together."""
    content = changed("listen.tls", "x")
    content["crl"]["shards"] = -1
    with pytest.raises(Misconfigured, match=r"listen\.tls.*crl\.shards"):
        make_settings(content)


@pytest.mark.parametrize(
    ("text", "said"),
    [("[listen\n", "line 1"), ("listen = 1\nlisten = 2\n", "certwright.toml"), ('a = "\x00"', "line 1")],
)
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """The message names the file and the place."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(Misconfigured, match=said) as refused:
        load_settings(tmp_path)
    assert str(tmp_path) in refused.value.message


def test_a_missing_file_has_a_hint(tmp_path: Path) -> None:
    """Where no installation is, the hint says how to make one."""
    with pytest.raises(Misconfigured) as refused:
        load_settings(tmp_path)
    assert refused.value.hint == "certwright init makes one"
    with pytest.raises(Misconfigured) as refused:
        Product.open(tmp_path / "nowhere")
    assert refused.value.hint == f"certwright init --state {tmp_path / 'nowhere'}"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A file in another encoding is refused by name."""
    (tmp_path / FILE).write_bytes("# größe\n".encode("latin-1"))
    with pytest.raises(Misconfigured, match=FILE):
        load_settings(tmp_path)


DATABASE = "postgresql://certwright:canary-5up3r@db.example/pki"


@pytest.mark.parametrize("show", [repr, str, lambda settings: settings.model_dump_json()], ids=["repr", "str", "json"])
def test_the_databases_password_is_not_shown(show: Any) -> None:
    """Settings can be printed, logged and shown in a traceback without the secret that a database URL carries."""
    assert "canary-5up3r" not in show(make_settings(changed("store.url", DATABASE)))


@pytest.mark.parametrize(
    ("key", "value"), [("store.keep_expired", "x"), ("store.urll", DATABASE), ("store.url", [DATABASE])]
)
def test_a_refusal_does_not_quote_a_secret(key: str, value: object) -> None:
    """The message about a wrong setting repeats neither the database's password nor the value of another setting."""
    content = changed("store.url", DATABASE)
    content["store"][key.partition(".")[2]] = value
    with pytest.raises(Misconfigured) as refused:
        make_settings(content)
    assert "canary-5up3r" not in "".join(traceback.format_exception(refused.value))


def test_init_changes_values_and_keeps_sentences() -> None:
    """What `init` writes differs from the shipped file in the values that were asked for alone, whatever they hold."""
    nasty = 'x"\n[identity]\ncertificates = [{ }]\\1 \\g<0>'
    text = settings_text({"listen.tls": '"127.0.0.1:9"', "installation.trust_domain": json.dumps(nasty)})
    found = tomllib.loads(text)
    assert found == {
        **SHIPPED,
        "listen": {**SHIPPED["listen"], "tls": "127.0.0.1:9"},
        "installation": {**SHIPPED["installation"], "trust_domain": nasty},
    }
    assert re.findall(r"(?m)^#.*$", text) == re.findall(r"(?m)^#.*$", TEXT)
    with pytest.raises(Conflict, match="no setting"):
        settings_text({"listen.nothing": "1"})
    with pytest.raises(Conflict, match="no setting"):
        settings_text({"listen.shards": "1"})


def test_the_state_directory_is_where_the_platform_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable first, then /var/lib for root, then the user's state directory."""
    monkeypatch.setenv("CERTWRIGHT_STATE", str(tmp_path))
    assert state_directory() == tmp_path
    monkeypatch.delenv("CERTWRIGHT_STATE")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert state_directory() == Path("/var/lib/certwright")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/ada/.state")
    assert state_directory() == Path("/home/ada/.state/certwright")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert state_directory() == Path("/home/ada/.local/state/certwright")


def test_the_trust_domain_is_the_domain_unless_it_is_said() -> None:
    """`{trust_domain}` in a profile is the setting, or the domain where that is empty."""
    assert make_settings(changed("installation.domain", "corp.example")).variables == {
        "domain": "corp.example",
        "trust_domain": "corp.example",
    }
    assert make_settings(changed("installation.trust_domain", "mesh")).variables["trust_domain"] == "mesh"
