"""Finding what nobody has told us of: TLS endpoints and directories of files, looked at without harming them."""
