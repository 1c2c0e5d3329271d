"""Running one command: settings, the opened deployment, and errors as one clear line."""

from __future__ import annotations

import asyncio
import getpass
from typing import TYPE_CHECKING, TypeVar

from keystile.authority.auditing import Origin, on_behalf_of
from keystile.logs import configure_logs
from keystile.settings import Settings, load_settings, unknown_settings
from keystile.wiring import open_deployment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.assembly import Deployment

import structlog

Answer = TypeVar("Answer")


def settings_for_command() -> Settings:
    """Return the settings, with a warning for variables that are none."""
    configure_logs()
    for name in unknown_settings():
        structlog.get_logger(__name__).warning("this is not a setting, and is ignored", name=name)
    return load_settings()


def with_deployment(work: Callable[[Deployment], Awaitable[Answer]]) -> Answer:
    """Return what *work* returns, done on the opened store."""
    settings = settings_for_command()

    async def run() -> Answer:
        with on_behalf_of(Origin(operator())):
            async with open_deployment(settings) as deployment:
                return await work(deployment)

    return asyncio.run(run())


def operator() -> str:
    """Return who types this, for `issued_by` and the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return "cli"
