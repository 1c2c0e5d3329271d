"""Owners who registered themselves, in Keycloak: users without an e-mail, a credential or a role."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keystile.adapters.keycloak.client import KeycloakClient


class KeycloakEnrolment:
    """An `Enrolment` of a realm; *writer* stays the caller's to close."""

    def __init__(self, writer: KeycloakClient) -> None:
        self._writer = writer

    async def create(self, username: str) -> None:
        """See `Enrolment.create`: disabled until what everybody is given, roles and groups, is taken away."""
        user_id = await self._writer.create_user({"username": username, "enabled": False})
        await self._writer.take_realm_roles(user_id)
        await self._writer.leave_groups(user_id)  # a group may have roles too
        await self._writer.put_user(user_id, {"username": username, "enabled": True})
