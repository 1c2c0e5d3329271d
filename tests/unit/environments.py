"""Settings as an environment gives them, with nothing of this machine in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keystile.errors import ConfigurationError
from keystile.settings import Settings

Load = Callable[..., Settings]
SECRET = "s3cret-that-must-not-show"
KEYCLOAK = {
    "STORE": "keycloak",
    "KEYCLOAK_URL": "https://id.example.com",
    "KEYCLOAK_READER_SECRET": SECRET,
    "REDIS_URL": "rediss://:pw@redis.example.com:6379/0",
    "PEPPERS": "p1:" + "A" * 43,
}


def fault(load: Load, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load(**variables)
    assert SECRET not in str(refused.value)
    return str(refused.value)
