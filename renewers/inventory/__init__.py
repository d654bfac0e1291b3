"""What exists, from any CA, and whose it is. Everything that ends is one row of `Tracked`, wherever it came from.

`facts` reads what a certificate or a CRL says, `track` writes it down and keeps the lineages, `ownership` says whose it
is, `search` finds it again. What comes in by itself: `issued` (from our own CA), `own` (our CAs, their CRLs, the
bundle); what is brought: `imports`. Everything that a stranger's certificate says is text here, never a decision.
"""
