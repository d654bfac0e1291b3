"""What a doctor looks at: each check a small function over an open installation; `checks` lists them.

A check answers with findings, each with a level, a sentence and what to do. It changes nothing, and one that breaks is
itself a finding.
"""
