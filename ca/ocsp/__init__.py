"""What becomes of one certificate, said on demand (RFC 6960, in the lightweight profile of RFC 5019).

`asked` reads what strangers send, `issuers` knows whom it is about, `signer` keeps a delegated signer for each CA,
`encoding` writes answers, and `responder` puts them together and remembers them. Nothing here knows HTTP.
"""
