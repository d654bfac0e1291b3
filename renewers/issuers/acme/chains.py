"""Fetching what was signed: a chain, or the one of several that ends where it should (RFC 8555 section 7.4.2)."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.errors import BadRequest, IssuerRefusal, IssuerUnavailable
from ca.x509.bundle import read_certificates
from renewers.issuers import Obtained
from renewers.issuers.acme.conversation import Conversation
from renewers.issuers.acme.orders import Order
from renewers.issuers.acme.replies import Reply, nonsense

Chain = list[x509.Certificate]


def download(ca: Conversation, order: Order, csr: bytes) -> Obtained:
    """The certificate and its chain; the preferred one, if the settings name one and the CA has it."""
    if order.certificate is None:
        raise nonsense(f"{ca.config.name}: our order", "no certificate, though it is said to be valid")
    first, links = _fetch(ca, order.certificate, csr)
    chosen = first
    if ca.config.preferred_chain and not _ends_in(first, ca.config.preferred_chain):
        chosen = next((chain for chain in _alternates(ca, links, csr) if _is_preferred(ca, chain)), first)
    leaf, *above = [certificate.public_bytes(Encoding.DER) for certificate in chosen]
    return Obtained(leaf, tuple(above))


def _fetch(ca: Conversation, url: str, csr: bytes) -> tuple[Chain, list[str]]:
    reply = ca.read(ca.network.place(url, "the certificate"), "the certificate").check()
    return _read(reply, csr), reply.alternates


def _read(reply: Reply, csr: bytes) -> Chain:
    """The certificates of an answer, of which the first must be for our key. Whatever is odd in it stays behind."""
    try:
        chain = read_certificates(reply.body)
        is_ours = chain[0].public_key() == x509.load_der_x509_csr(csr).public_key()
    except BadRequest as error:
        raise nonsense(reply.what, f"what is not a chain: {error.message}") from None
    except Exception as error:  # noqa: BLE001 - parsers raise what they like
        raise nonsense(reply.what, f"a certificate with an odd key ({type(error).__name__})") from None
    if not is_ours:
        raise nonsense(reply.what, "a certificate for another key")
    return chain


def _alternates(ca: Conversation, links: list[str], csr: bytes) -> Iterator[Chain]:
    """The other chains. One that cannot be had is passed over: there is a chain already."""
    for url in links:
        try:
            yield _fetch(ca, url, csr)[0]
        except (IssuerRefusal, IssuerUnavailable):
            continue


def _is_preferred(ca: Conversation, chain: Chain) -> bool:
    return _ends_in(chain, ca.config.preferred_chain)


def _ends_in(chain: Chain, common_name: str) -> bool:
    """Whether that is the common name of the root, or of what has signed the topmost certificate."""
    try:
        names = chain[-1].issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return False
    return any(attribute.value == common_name for attribute in names)
