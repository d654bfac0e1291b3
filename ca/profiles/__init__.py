"""Profiles: what may be issued, to whom, under which names. One TOML file each; policy is code and is tested like code.

`config` is what a file may say, `profile` what passed validation, `rules` how names are matched, `dangers` which
combinations are flagged, `collection` how a directory of them is loaded, `examples` the table of allowed and refused
requests beside each.
"""
