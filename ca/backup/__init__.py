"""Backups: one file that holds all tables, sealed keys, profiles and settings, for whoever has the recipient's key.

`sealing` is the envelope, `packing` what is inside, `snapshot` reads it from a store, `filling` puts it into an empty
one, `reading` checks it on the way. `pki/backup.py` and `pki/restoring.py` put them to work on an installation.
"""
