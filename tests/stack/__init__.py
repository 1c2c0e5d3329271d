"""Real servers for tests and for `make stack`: Keycloak, PostgreSQL, Redis, Keystile and an MCP server."""

from stack.errors import StackError
from stack.keycloak_server import KeycloakServer, Postgres
from stack.keystile_server import KeystileServer
from stack.mcp_server import McpServer
from stack.postgres_server import PostgresServer
from stack.redis_server import RedisServer

__all__ = ["KeycloakServer", "KeystileServer", "McpServer", "Postgres", "PostgresServer", "RedisServer", "StackError"]
