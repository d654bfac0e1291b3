"""The demo: a small living world in a directory of its own.

`world` makes the directory and runs a real `certwright serve` in it, `gateway` is a real TLS server that asks clients
for certificates and checks CRLs, `story` tells what happens, step by step, and fails if something else happens.
"""
