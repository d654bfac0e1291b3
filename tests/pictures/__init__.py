"""Pages and letters as people see them: rendered by a real browser, judged, and kept as pictures if somebody asks.

`studio` is the browser, `judging` what it looks for in a page, `world` what there is to be seen, `site` who serves it,
`visits` where to look, `mails` the letters. `python -m tests.pictures` (`make pictures`) writes PNGs and an index of
them into `pictures/`.
"""
