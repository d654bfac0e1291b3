"""A public CA as an issuer, over ACME (RFC 8555), with suggested windows (RFC 9773) and profiles.

The `acme` library does what it does well: signed requests and nonces. Everything else is here, since the library would
follow every URL that a CA hands out, cannot say what an order replaces, and reads a date in the wrong time zone. A CA
is a stranger: nothing it says is run, written to a file or connected to, and it is capped before it is shown.

Read `issuer.py` first, which tells the story; `conversation.py` is one talk with a CA, `network.py` how it is carried.
"""

from renewers.issuers.acme.config import AcmeConfig
from renewers.issuers.acme.issuer import AcmeIssuer

__all__ = ["AcmeConfig", "AcmeIssuer"]
