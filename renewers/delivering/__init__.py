"""Bringing certificates to where they are used, and seeing them served there. Begin with `delivery.py`."""
