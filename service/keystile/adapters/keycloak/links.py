"""Links of owners to the identity provider `keystile`: by them the realm knows whom an assertion is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.errors import ChangeRefusedError

if TYPE_CHECKING:
    from keystile.adapters.keycloak.client import KeycloakClient


class KeycloakLinks:
    """Links owners under their own ids. *writer* may manage users."""

    def __init__(self, writer: KeycloakClient) -> None:
        self._writer = writer

    async def ensure(self, owner_id: str) -> None:
        """Link that owner unless it is linked. Raises `OwnerUnknownError` or `CannotTellError`."""
        try:
            await self._writer.link(owner_id)
        except ChangeRefusedError as error:
            if not _is_linked(error):
                raise

    async def mend(self, owner_id: str) -> None:
        """Link that owner, in place of a link of another value. Raises the same."""
        try:
            await self._writer.link(owner_id)
        except ChangeRefusedError as error:
            if not _is_linked(error):
                raise
            await self._writer.unlink(owner_id)
            await self._writer.link(owner_id)


def _is_linked(error: ChangeRefusedError) -> bool:
    return type(error) is ChangeRefusedError  # an `OwnerUnknownError` is one too, and says something else
