"""The floor that signs: keys, X.509, profiles, policy, issuance, revocation, ledger and their store.

Nothing here opens a network connection or knows a web framework; the database (and, later, an HSM session) apart.
Read `ca/issuance.py` next: it is the story that everything else serves.
"""
