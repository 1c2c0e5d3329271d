"""Real servers for tests and for `make stack`: Keycloak, PostgreSQL, Redis and Keystile, each with a handle."""

from stack.errors import StackError
from stack.keycloak_server import KeycloakServer, Postgres
from stack.keystile_server import KeystileServer
from stack.postgres_server import PostgresServer
from stack.redis_server import RedisServer

__all__ = ["KeycloakServer", "KeystileServer", "Postgres", "PostgresServer", "RedisServer", "StackError"]
