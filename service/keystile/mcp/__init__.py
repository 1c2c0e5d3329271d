"""For MCP servers that take JWTs of Keystile."""
