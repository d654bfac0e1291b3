"""HTTP: the REST API, what strangers fetch, and the servers that carry both.

`app` puts it together, `identity` says who asks, `problems` how refusals look, `limits` how much and how fast, `api`
holds one file a noun, `public` what needs no identity, `server` the listeners. A handler decodes, calls one thing
below, and encodes.
"""
