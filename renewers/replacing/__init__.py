"""Certificates replaced in numbers: after a compromise, by a filter, and as a drill of both."""
