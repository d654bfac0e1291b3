"""From the settings of mail to letters that leave: what is wired, what is refused at once, and that no secret shows."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.errors import Misconfigured
from pki.product import Product
from renewers.duties import DUTIES
from renewers.lifecycle import Lifecycle
from renewers.mailers.eml import EmlMailer
from renewers.mailers.smtp import SmtpMailer
from renewers.mailing import letters
from renewers.models import Letter, Owner, Work
from renewers.runner import Runner
from tests.mailserver import AUTH, MAIL, MailServer, Wanted, serving_mail
from tests.pki.conftest import Template
from tests.pki.test_secrets import Round, everything_in, tables
from tests.renewers import reporting, tracking

USER, PASSWORD = "certwright-mail", "canary of the mail server /+%&=<c47e10>"
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
NOW = tracking.START + 400 * 86400


@pytest.fixture
def state(template: Template, tmp_path: Path) -> Path:
    """An installation of its own."""
    shutil.copytree(template.state, tmp_path / "state", ignore=shutil.ignore_patterns("*.sock", "*lock"))
    return tmp_path / "state"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    """A mail server that wants a password."""
    with serving_mail(tmp_path / "mail", Wanted(user=USER, password=PASSWORD)) as made:
        yield made


def secret(state: Path, name: str, content: str, mode: int = 0o400) -> str:
    """A file that holds one."""
    (state / name).write_text(content)
    (state / name).chmod(mode)
    return name


def set_mail(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Settings from the environment."""
    for name, value in values.items():
        monkeypatch.setenv(f"CERTWRIGHT_MAIL__{name.upper()}", value)


def dkim(state: Path) -> dict[str, str]:
    """The settings of a signature."""
    key = secret(state, "dkim.pem", PEM)
    return {
        "sender": "PKI <pki@pki.example>",
        "dkim_domain": "pki.example",
        "dkim_selector": "s1",
        "dkim_key_file": key,
    }


def test_nobody_is_written_to_by_default(state: Path) -> None:
    """No server, no directory, no mail."""
    with Product.open(state) as product:
        assert product.lifecycle.mailer is None
        assert product.lifecycle.mail.when_healthy == "monthly"


def test_the_settings_become_the_policy(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each where it belongs."""
    said = {"reply_to": "pki@a.example", "bounces_to": "b@a.example", "link_url": "https://ca.example:8443/"}
    set_mail(
        monkeypatch, **said, digest_day="wed", digest_hour="7", when_healthy="never", keep="90d", directory="letters"
    )
    with Product.open(state) as product:
        mail = product.lifecycle.mail
        assert (mail.reply_to, mail.bounces_to, mail.link_url) == (
            "pki@a.example",
            "b@a.example",
            "https://ca.example:8443",
        )
        assert (mail.digest_day, mail.digest_hour, mail.when_healthy, mail.keep) == (2, 7, "never", 90 * 86400)
        assert isinstance(product.lifecycle.mailer, EmlMailer)
    assert (state / "letters").is_dir()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"server": "mail.example:587", "username": "x", "password_file": "missing"}, "missing"),
        ({"server": "mail.example:587", "username": "x", "password_file": "open"}, "others may read"),
        ({"server": "mail.example:587", "ca_file": "missing.pem"}, "missing.pem"),
        ({"server": "mail.example:587", "ca_file": "open"}, "open"),
        ({"directory": "public"}, "others may enter"),
        ({"directory": "letters", "dkim_key_file": "missing"}, "missing"),
        ({"directory": "letters", "dkim_key_file": "shut"}, "DKIM key"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    state: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], said: str
) -> None:
    """When the installation is opened, by name, without a word of what a file holds; and it is closed again."""
    secret(state, "open", "canary", 0o644)
    secret(state, "shut", "canary")
    (state / "public").mkdir(mode=0o755)
    set_mail(monkeypatch, **({**dkim(state), **values} if "dkim_key_file" in values else values))
    with pytest.raises(Misconfigured, match=said) as caught:
        Product.open(state)
    assert "canary" not in f"{caught.value} {caught.value.hint}"
    for name in values:
        monkeypatch.delenv(f"CERTWRIGHT_MAIL__{name.upper()}")
    for name in ("dkim_domain", "dkim_selector"):
        monkeypatch.delenv(f"CERTWRIGHT_MAIL__{name.upper()}", raising=False)
    Product.open(state).close()


def digest(lifecycle: Lifecycle) -> int:
    """A letter to somebody, about something."""
    store = lifecycle.store
    owner_id = reporting.owner(store, email="ada@web.example", escalation="[]")
    reporting.certificate(store, owner_id, "vendor.web.example", mode="manual", left=40 * 86400, lifetime=365 * 86400)
    with store.read() as connection:
        owner = Owner(**connection.execute(select(Owner).where(col(Owner.id) == owner_id)).one()._mapping)
    made = store.write(
        lambda tx: letters.open_letter(
            tx, owner=owner, kind="digest", recipient="ada@web.example", step=0, reason="test", crossings=(), key="k"
        )
    )
    assert made is not None
    return made


def send(lifecycle: Lifecycle, moment: int) -> list[Exception]:
    """Do what is due then; returns what went wrong."""
    errors: list[Exception] = []
    runner = Runner(lifecycle, {"mail": DUTIES["mail"]})
    runner.on_error = lambda _claim, error: errors.append(error)
    with clock.pinned(datetime.fromtimestamp(moment, UTC)):
        runner.drain()
    runner.stop()
    return errors


def test_a_letter_leaves_signed(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the directory, with the signature of the settings in front."""
    set_mail(monkeypatch, directory="letters", **dkim(state))
    with Product.open(state) as product, clock.pinned(datetime.fromtimestamp(NOW, UTC)):
        digest(product.lifecycle)
        assert send(product.lifecycle, NOW) == []
    (file,) = (state / "letters").glob("*.eml")
    assert file.read_bytes().startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=pki.example;")
    assert b"To: ada@web.example\r\n" in file.read_bytes()


def test_no_secret_of_mail_is_left(
    state: Path, server: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that repeats the password, twice, and then takes the letter: it is nowhere to be found."""
    caplog.set_level(logging.DEBUG)
    planted, held = Round(), {"mail-password", "dkim.pem"}
    planted.plant("password of the mail server", PASSWORD)
    planted.plant_key("DKIM key", KEY)  # type: ignore[arg-type]
    place = {"server": f"localhost:{server.port}", "ca_file": str(server.ca_file)}
    who = {"username": USER, "password_file": secret(state, "mail-password", PASSWORD)}
    set_mail(monkeypatch, **place, **who, **dkim(state))
    with Product.open(state) as product:
        lifecycle = product.lifecycle
        assert isinstance(lifecycle.mailer, SmtpMailer)
        with clock.pinned(datetime.fromtimestamp(NOW, UTC)):
            digest(lifecycle)
        server.will(AUTH, f"535 5.7.8 {PASSWORD} is wrong")
        server.will(MAIL, f"451 4.3.0 later, {PASSWORD}")
        errors = [error for day in range(4) for error in send(lifecycle, NOW + day * 86400)]
        assert [type(error).__name__ for error in errors] == ["NotDelivered", "NotDelivered"]
        with lifecycle.store.read() as connection:
            assert connection.execute(select(Letter.state)).scalars().all() == ["sent"]
            assert connection.execute(select(Work.id).where(col(Work.kind) == "mail")).all() == []
        shown = [
            repr(lifecycle),
            repr(vars(lifecycle.mailer)),
            repr(product.settings),
            product.settings.model_dump_json(),
        ]
        shown += [f"{error} {error.hint} {error.__cause__} {error.__context__}" for error in errors]  # type: ignore[attr-defined]
        planted.left["shown"] = "\n".join(shown).encode()
    planted.left["log"] = caplog.text.encode()
    planted.left |= tables(state)
    planted.left |= {
        name: text for name, text in everything_in(state).items() if name.removeprefix("file ") not in held
    }
    (taken,) = server.taken()
    planted.left["letter"] = taken.raw + json.dumps([taken.mail, taken.rcpt]).encode()
    assert taken.user == USER
    assert planted.leaks() == set()
    assert {"table letter", "letter", "dump", "shown"} <= set(planted.left)
