"""The demo: a small living world in a directory of its own.

`world` makes the directory and runs a real `certwright serve` in it, `gateway` is a real TLS server that asks clients
for certificates and checks the CRLs that it is brought, `website` one whose own certificate is renewed while visitors
come, `host` one that fetches what it has to trust. `story` tells what happens, step by step, with `trust` of who holds
what, `upkeep` of what is renewed, `succession` of a root that is rotated; they fail if something else happens.
"""
