"""What is published, as bytes: manifests, their signatures, and the checks that anybody with a root can make.

A manifest says what a stream holds at one version, and is signed by a leaf that has this one purpose. Nothing here
knows a consumer, and the checking side (`opening`) knows no store: it runs on machines where nothing else of us does.

`strict` and `manifest` are the format, `jws` the envelope; `signer` signs, `chain` and `opening` check. Read `opening`
next.
"""
