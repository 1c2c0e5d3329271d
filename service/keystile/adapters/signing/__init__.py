"""Signing our own JWTs: key files, and the issuer that uses them."""
