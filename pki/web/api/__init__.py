"""The REST API under `/api/v1`: one file a noun. The command line is a client of it, and so is every program."""
