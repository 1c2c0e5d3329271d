"""What an MCP server needs to take JWTs of Keystile; installed with the extra `keystile[mcp]`."""

from keystile.mcp.verifier import KeystileTokenVerifier

__all__ = ["KeystileTokenVerifier"]
