"""The floor that listens: settings, command line, HTTP, schedule. It parses, calls one thing below, and encodes.

Nothing here decides about a certificate. `product` wires an installation together, `catalog` alone names
implementations, `web` serves it, `cli` is a client of what `web` serves.
"""
