"""Users in bulk, written straight into Keycloak's tables: for tests of scale only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.keyring import BulkKey
    from stack import PostgresServer

# Each user holds a record and a look-up value, as long as real ones, so that the index is as large as it would be.
_STRANGERS = """
insert into bulk select
  'stranger-' || n,
  rpad(lpad(to_hex(n::bigint * 2654435761 % 281474976710656), 12, '0'), 264, '-'),
  '{{"v":1,"id":"' || lpad(to_hex(n::bigint * 2654435761 % 281474976710656), 12, '0') || '","gen":1,"env":"live",'
    || '"name":"' || repeat('n', 400) || '","issued_at":"2026-01-01T00:00:00Z"}}'
from generate_series(1, {count}) n;
"""
_STAGE = "create temporary table bulk (username text, lookup text, record text);\n"
_INSERT = """
insert into user_entity
  (id, email, email_constraint, email_verified, enabled, realm_id, username, created_timestamp, not_before,
   first_name, last_name)
select md5(username)::uuid::text, username || '@example.com', username || '@example.com', true, true,
  (select id from realm where name = '{realm}'), username, extract(epoch from now())::bigint * 1000, 0, 'Zoë', 'Quint'
from bulk;
insert into user_attribute (id, name, long_value, long_value_hash, long_value_hash_lower_case, user_id)
select gen_random_uuid()::text, name, value, sha512(value::bytea), sha512(lower(value)::bytea),
  md5(username)::uuid::text
from (select username, 'apiKeyLookup' as name, lookup as value from bulk
      union all select username, 'apiKeys', record from bulk) as attributes;
analyze user_entity;
analyze user_attribute;
"""


def add_strangers(postgres: PostgresServer, database: str, realm: str, count: int) -> None:
    """Add *count* users whose keys nobody has."""
    postgres.run(_STAGE + _STRANGERS.format(count=count) + _INSERT.format(realm=realm), database)


def add_owners(postgres: PostgresServer, database: str, realm: str, keys: list[BulkKey]) -> None:
    """Add an owner for each of *keys*."""
    lines = [f"{key.owner}\t{key.lookup}\t{key.record}" for key in keys]
    copy = "\n".join(["copy bulk from stdin;", *lines, "\\.", ""])
    postgres.run(_STAGE + copy + _INSERT.format(realm=realm), database)
