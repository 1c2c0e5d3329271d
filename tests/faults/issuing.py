"""Many keys at once: issued by the same code the command line runs, in one opening of the store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keystile.authority.lifecycle import KeyRequest
from keystile.keys import KeyFormat
from keystile.peppers import Peppers
from keystile.restrictions import Policy
from keystile.settings import load_settings
from keystile.wiring import open_deployment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystile.authority.lifecycle import IssuedKey
    from keystile.settings import Settings


def issue_keys(environment: Mapping[str, str], owners: Sequence[str]) -> list[tuple[str, str]]:
    """Issue a key to each of *owners*; return key ids and texts in their order."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = load_settings()
    return [(key.record.key_id, key.key.reveal()) for key in asyncio.run(_issue(settings, owners))]


def unknown_key(environment: Mapping[str, str]) -> str:
    """Return a key with our stamp that is in nobody's record."""
    return KeyFormat(Peppers.parse(environment["KEYSTILE_PEPPERS"])).generate("live").reveal()


async def _issue(settings: Settings, owners: Sequence[str]) -> list[IssuedKey]:
    expires_at = datetime.now(UTC) + timedelta(days=1)
    async with open_deployment(settings) as deployment:
        requests = [
            KeyRequest(owner=owner, name="laptop", issued_by="test", expires_at=expires_at, policy=Policy())
            for owner in owners
        ]
        return list(await asyncio.gather(*map(deployment.lifecycle.issue, requests)))
