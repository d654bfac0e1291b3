"""Tests. `ca`, `renewers` and `pki` mirror the packages; `contracts` has one suite a port; `flows` are stories."""
