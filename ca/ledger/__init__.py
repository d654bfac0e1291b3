"""The ledger: every state change, in a Merkle tree (RFC 9162 section 2) whose heads are signed and published.

`log` appends and sequences, `merkle` is the tree, `checkpoint` the signed head in the C2SP format. `verify` holds the
tree against a head that somebody kept elsewhere, `reconcile` holds the tables against the tree. An append costs one row
in the transaction that makes the change; positions and hashes of the tree come afterwards, in one go for many.
"""
