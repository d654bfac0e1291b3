"""X.509 as bytes and objects: names, requests, to-be-signed certificates and lists, lint, bundles. No state, no policy.

`cryptography` parses and encodes every field; what it cannot do is hand out the to-be-signed bytes before they are
signed, so the outer SEQUENCE alone is ours (`ca/der.py`). Read `certificate.py` next.
"""
