"""The command line: it works on the store itself, not through the server."""
