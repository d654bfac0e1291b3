"""Rotating a CA by evidence: the new one is introduced, proved to be held, activated; the old one goes when unneeded.

`story` reads top to bottom, one function a stage; `underway` is the row that it moves, `plans` what was asked for.
What the stages do is in `successors` (which CA follows which), `evidence` (what was published, who holds it), `leaves`
(what is still alive beneath a CA), `gates`, `reissuing` and `standing_down`. What people do: `starting` (with
`impact`), `steering`, `showing`; `automatic` starts what is due.
"""
