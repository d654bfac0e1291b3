"""The one list of implementations: which adapter a setting means. A new adapter is one file and one line here.

What speaks to the world is imported where it is made: an installation without it, and every command that opens one,
need not load three network libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from ca.errors import Misconfigured
from ca.installation import Installation
from ca.keys import KeyStore
from ca.keys.algorithms import KeyType
from ca.keys.divided import DividedKeyStore
from ca.keys.passphrase import find_passphrase
from ca.keys.pkcs11_uri import EXAMPLE, read_token_uri
from ca.keys.sealed import Sealer
from ca.keys.software import SoftwareKeyStore
from pki.brokers import broker
from pki.lifecycle_settings import AcmeSettings, SolverSettings, WebhookSettings
from pki.mail_settings import MailSettings
from pki.pin import find_pin
from pki.secret_files import read_secret
from pki.settings import KeySettings, Settings
from renewers.issuers import Issuer, budget
from renewers.issuers.internal import InternalIssuer
from renewers.lifecycle import MakePublisher
from renewers.mailers import Mailer
from renewers.mailers.envelope import unsigned
from renewers.notifiers import Notifier
from renewers.publishers import Publisher
from renewers.publishers.files import make_files
from renewers.publishers.pull import make_pull
from renewers.solvers import Solver
from renewers.solvers.zoned import Zoned


def _software(state: Path, settings: KeySettings) -> KeyStore:
    return SoftwareKeyStore(state / "keys", find_passphrase(state / settings.passphrase_file))


def _pkcs11(state: Path, settings: KeySettings) -> KeyStore:
    if not settings.pkcs11_uri:
        raise Misconfigured('keys.store is "pkcs11" and keys.pkcs11_uri names no token', hint=f"such as {EXAMPLE}")
    uri = read_token_uri(settings.pkcs11_uri)
    if uri.module is None and not settings.pkcs11_module:
        hint = "name the vendor's shared object in keys.pkcs11_module"
        raise Misconfigured("where the token's PKCS#11 module is was not said", hint=hint)
    pin = partial(find_pin, _file(state, settings.pin_file), uri.pin_source)
    pin()  # what is missing is said at the start
    try:
        from ca.keys.pkcs11 import Pkcs11KeyStore
    except ImportError as error:
        hint = "pip install 'certwright[hsm]'"
        raise Misconfigured(f"keys in a token need {error.name}, which is not here", hint=hint) from None
    token = Pkcs11KeyStore(replace(uri, module=uri.module or Path(settings.pkcs11_module)), pin)
    return DividedKeyStore(token, _software(state, settings), ledger_in_hardware=settings.ledger_key == "token")


KEY_STORES: Mapping[str, Callable[[Path, KeySettings], KeyStore]] = {
    "software": _software,
    "pkcs11": _pkcs11,
}


def _files(_state: Path, settings: Settings) -> MakePublisher:
    return partial(make_files, programs=frozenset(settings.renewals.programs))


def _pull(_state: Path, _settings: Settings) -> MakePublisher:
    return make_pull


def _webhook(state: Path, settings: Settings) -> MakePublisher:
    from renewers.publishers.webhook import PushPlace, make_webhook

    places = {
        each.name: PushPlace(each.url, read_secret(state / each.secret_file), _file(state, each.ca_file))
        for each in settings.places.pushes
    }
    return partial(make_webhook, places=places)


def _mqtt(state: Path, settings: Settings) -> MakePublisher:
    from renewers.publishers.mqtt import make_mqtt

    return partial(make_mqtt, brokers={each.name: broker(state, each) for each in settings.places.brokers})


def _objects(state: Path, settings: Settings) -> MakePublisher:
    from renewers.publishers.bucket import ObjectPlace
    from renewers.publishers.objects import make_objects

    stores = {
        each.name: ObjectPlace(
            each.endpoint,
            each.bucket,
            each.region,
            each.access_key_id,
            read_secret(state / each.secret_file),
            _file(state, each.ca_file),
            each.conditional,
        )
        for each in settings.places.stores
    }
    return partial(make_objects, stores=stores)


def _kubernetes(state: Path, settings: Settings) -> MakePublisher:
    from renewers.publishers.cluster import Cluster
    from renewers.publishers.kubernetes import make_kubernetes

    clusters = {
        each.name: Cluster(
            each.server,
            _file(state, each.ca_file),
            _file(state, each.token_file),
            _file(state, each.certificate_file),
            _file(state, each.key_file),
        )
        for each in settings.places.clusters
    }
    return partial(make_kubernetes, clusters=clusters)


PUBLISHERS: Mapping[str, Callable[[Path, Settings], MakePublisher]] = {
    "files": _files,
    "pull": _pull,
    "webhook": _webhook,
    "mqtt": _mqtt,
    "objects": _objects,
    "kubernetes": _kubernetes,
}
"""Each is put together when it is first asked for; see `publisher`."""


def publisher(name: str, state: Path, settings: Settings) -> MakePublisher:
    """What makes publishers of one kind. Its libraries are loaded and its secrets read with the first that is made."""
    kind = PUBLISHERS[name]

    @cache
    def made() -> MakePublisher:
        try:
            return kind(state, settings)
        except ImportError as error:
            hint = f"pip install 'certwright[{EXTRAS.get(name, name)}]'"
            raise Misconfigured(f"the publisher {name} needs {error.name}, which is not here", hint=hint) from None

    def make(found: Mapping[str, Any]) -> Publisher:
        return made()(found)

    return make


EXTRAS = {"objects": "s3"}
"""The extra that brings a publisher's library, where it has another name."""


LIMITS: Mapping[str, tuple[budget.Limit, ...]] = {
    "letsencrypt": budget.LETS_ENCRYPT,
    "none": (),
}


def internal(installation: Installation) -> Issuer:
    """Our own CA."""
    return InternalIssuer(installation)


def acme(
    state: Path, settings: AcmeSettings, installation: Installation, sealer: Sealer, solvers: list[Solver]
) -> Issuer:
    """A public CA."""
    from renewers.issuers.acme import AcmeConfig, AcmeIssuer

    key = settings.eab_key_file
    config = AcmeConfig(
        name=settings.name,
        directory=settings.directory,
        contact=tuple(settings.contact),
        terms_agreed=settings.terms_agreed,
        ca_file=state / settings.ca_file if settings.ca_file else None,
        also_hosts=tuple(settings.also_hosts),
        eab_kid=settings.eab_kid,
        eab_key=read_secret(state / key) if key else None,
        account_key_type=KeyType(settings.key_type),
        challenges=tuple(settings.challenges),
        preferred_chain=settings.preferred_chain,
        limits=LIMITS[settings.limits],
    )
    return AcmeIssuer(config, store=installation.store, sealer=sealer, solvers=solvers)


def solvers(state: Path, settings: SolverSettings) -> list[Solver]:
    """Every way in which we can prove that a name is ours."""
    from renewers.solvers.dns01 import Dns01
    from renewers.solvers.dns_persist01 import DnsPersist01
    from renewers.solvers.http01 import Http01Listener
    from renewers.solvers.tls_alpn01 import TlsAlpn01Listener
    from renewers.solvers.webroot import Webroot
    from renewers.solvers.zones import Zones

    zones = Zones([_place(text) for text in settings.resolvers])
    writers = [*_rfc2136(state, settings), *_providers(state, settings)]
    found: list[Solver] = []
    if settings.webroots:
        found.append(Webroot({each.domain: Path(each.directory) for each in settings.webroots}))
    if settings.http01:
        found.append(Http01Listener(*_place(settings.http01)))
    if settings.tls_alpn01:
        found.append(TlsAlpn01Listener(*_place(settings.tls_alpn01)))
    if writers:
        found.append(Dns01(writers, zones))
    if settings.dns_persist:
        found.append(DnsPersist01(zones, writers))
    return found


def mailer(state: Path, settings: MailSettings) -> Mailer | None:
    """How mail leaves: over a server, into a directory, or not at all."""
    if settings.directory:
        from renewers.mailers.eml import EmlMailer

        return EmlMailer(state / settings.directory, _signing(state, settings))
    if not settings.server:
        return None
    from renewers.mailers.server import Server
    from renewers.mailers.smtp import SmtpMailer

    password = read_secret(state / settings.password_file) if settings.password_file else None
    trusted = _file(state, settings.ca_file)
    server = Server(*_place(settings.server), settings.security, trusted, settings.username, password)
    return SmtpMailer(server, _signing(state, settings))


def _signing(state: Path, settings: MailSettings) -> Callable[[bytes], bytes]:
    if not settings.dkim_domain:
        return unsigned
    from renewers.mailers.dkim import DkimSigner

    key = read_secret(state / settings.dkim_key_file)
    return DkimSigner(settings.dkim_domain, settings.dkim_selector, key).signed


def webhook(state: Path, settings: WebhookSettings) -> Notifier:
    """Somebody who is told by a signed POST."""
    from renewers.notifiers.webhook import Webhook

    return Webhook(
        settings.url,
        read_secret(state / settings.secret_file),
        ca_file=state / settings.ca_file if settings.ca_file else None,
        kinds=tuple(settings.kinds),
        severity=settings.severity,
    )


def _rfc2136(state: Path, settings: SolverSettings) -> list[Zoned]:
    from renewers.solvers.rfc2136 import Rfc2136Writer

    return [
        Zoned(
            each.zone,
            Rfc2136Writer(each.server, each.port, each.key_name, read_secret(state / each.key_file), each.algorithm),
        )
        for each in settings.rfc2136
    ]


def _providers(state: Path, settings: SolverSettings) -> list[Zoned]:
    from renewers.solvers.lexicon import LexiconWriter

    return [
        Zoned(
            each.zone,
            LexiconWriter(
                each.provider,
                {**each.options, **{name: read_secret(state / file) for name, file in each.secrets.items()}},
                zone=each.zone,
            ),
        )
        for each in settings.providers
    ]


def _file(state: Path, name: str) -> Path | None:
    return state / name if name else None


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
