"""Offline CAs: the key leaves this machine, and two files carried over do what it alone can.

The request holds the very bytes that are to be signed (`documents`); the machine without a network reads them, shows
them, checks them by itself and signs (`offline`, `script`). What comes back is signatures, which verify over the bytes
that were asked for or are refused (`answering`). So it is the issuance cycle of `ca/issuance`, with its step 6 done
elsewhere: the intent is durable before the request is given out (`asking`). How keys leave and return is in `leaving`.
"""
