"""The demo: a small living world in a directory of its own.

`world` makes the directory and runs a real `certwright serve` in it, `gateway` is a real TLS server that asks clients
for certificates and checks CRLs, `website` one whose own certificate is renewed while visitors come. `story` and
`upkeep` tell what happens, step by step, and fail if something else happens.
"""
