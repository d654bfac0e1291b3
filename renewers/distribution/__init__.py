"""Who must hold trust bundles and CRLs, what is published for them, and who was proved to hold what.

What is published: `streams` (what a stream is about now), `publishing` (its next version), `published` (looking at what
was made), `formats` and `material` (files), `needs`, `foreign`. Nothing here decides what is trusted: that is `ca`.
"""
