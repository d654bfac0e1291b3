"""The floor that reaches out: inventory, lead time, renewal, publishers, rotation, reports. Still empty: see README."""
