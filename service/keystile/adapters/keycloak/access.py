"""Who we are to Keycloak: the address of a realm, and the credentials of one of its clients or of an administrator."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A client's name and secret."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAccess:
    """One client of one realm.

    *url* is the server's base, without `/admin`; *verify* a CA bundle's path, or whether to check certificates.
    """

    url: str
    realm: str
    client: Credentials
    verify: bool | str = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAccess:
    """An administrator of the master realm, for set-up only (password grant of `admin-cli`)."""

    url: str
    user: str
    password: str = field(repr=False)
    verify: bool | str = True
