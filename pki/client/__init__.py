"""The REST API from outside: how a command, or the demo, reaches an installation, near or far.

`where` says which one is meant, `rest` finds the way to it, `remote` is the one that leaves the machine.
"""
