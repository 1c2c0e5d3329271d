"""Registering public keys: a key record whose proof is a signature, for one owner in the whole deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError, PolicyRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.authority.lifecycle import KeyRequest, Lifecycle
    from keystile.client_ids import ClientId, ClientIds
    from keystile.ports import Leases
    from keystile.public_keys import PublicKey
    from keystile.records import KeyRecord, Owner

    MakeOwner = Callable[[str], Awaitable[None]]

_LONGEST = 60.0  # seconds that one registration may take
_DRAWS = 5


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A new public-key credential: nothing of it is secret."""

    record: KeyRecord
    owner: Owner


@dataclass(frozen=True, kw_only=True)
class Registrar:
    """Registers public keys as *lifecycle* issues keys: the same owners, policies, limits, words and audit."""

    lifecycle: Lifecycle
    ids: ClientIds
    leases: Leases

    async def register(
        self, request: KeyRequest, public_key: PublicKey, *, make_owner: MakeOwner | None = None
    ) -> RegisteredKey:
        """Register *public_key*, or raise a `ChangeRefusedError`: it is somebody's already, or may not be had.

        A key whose record is a tombstone still is its owner's: it may have been revoked because somebody stole it.
        *make_owner* is called with the owner's name if nobody has the key. Raises `CannotTellError` while nobody can
        say whose it is.
        """
        lease = f"public-key:{public_key.fingerprint}"
        token = await self.leases.take(lease, _LONGEST)
        if token is None:
            raise CannotTellError("this public key is being registered just now")
        try:
            return await self._register(request, public_key, make_owner)
        finally:
            await self.leases.release(lease, token)

    async def _register(
        self, request: KeyRequest, public_key: PublicKey, make_owner: MakeOwner | None
    ) -> RegisteredKey:
        if await self.lifecycle.directory.find(public_key.lookup):
            raise PolicyRefusedError("this public key is registered already, or was until it was revoked", "public_key")
        if make_owner is not None:
            await make_owner(request.owner)
        owner = await self.lifecycle.admit(request)
        client = await self._free_id()
        stamp = client.stamp_pepper or ""
        record = self.lifecycle.new_record(client.tag, request, stamp_pepper=stamp, public_key=public_key)
        return RegisteredKey(record, await self.lifecycle.keep(owner, record, request))

    async def _free_id(self) -> ClientId:
        # 36 bits are drawn: of a million keys a handful would meet. Two owners of one id would both be refused.
        for _ in range(_DRAWS):
            client = self.ids.generate()
            if not await self.lifecycle.directory.find(client.tag):
                return client
        raise CannotTellError("no key id is free")
