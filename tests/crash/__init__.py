"""Processes that are killed with -9, at random moments and at every step, and a judge of what they leave behind.

`worker` is the process that dies, `campaign` the one that kills it (`python -m tests.crash.campaign 200`), `judge` says
whether anything that was answered is lost, or anything that was signed unrecorded.
"""
