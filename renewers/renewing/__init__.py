"""One renewal from due to recorded: when and why, by whom, what becomes of a failure. Begin with `renewal.py`."""
