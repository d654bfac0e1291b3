"""The monthly report, for people who sign for things: what was, is and comes, and how each figure was counted.

`figures.py` gathers them in one pass, `snapshots.py` keeps a month's as they were, `chapters.py` puts them into words,
`html.py` and `paper.py` set these, and `letter.py` sends them. Nothing here changes anything that it reports on.
"""
