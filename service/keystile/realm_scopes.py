"""What the client scopes are called by which a realm's tokens get their audience and their scopes."""

from __future__ import annotations

from keystile.policy import RESERVED_SCOPES

LONGEST_NAME = 255  # characters of a client scope's name in Keycloak
_AUDIENCE = "aud:"
_ORGANIZATION = "organization:"  # Keycloak reads `organization:acme` as `organization`, with a parameter
# The attack: a key whose scope is called like one of these asks Keycloak for more than a scope. For an ID token or a
# refresh token, for what the realm knows of its owner, for roles, or for the audience of our own management API.
BUILT_IN = frozenset(
    {
        "acr",
        "address",
        "basic",
        "email",
        "keystile",
        "microprofile-jwt",
        "offline_access",
        "openid",
        "organization",
        "phone",
        "profile",
        "roles",
        "role_list",
        "saml_organization",
        "service_account",
        "web-origins",
    }
)


def audience_scope(audience: str) -> str:
    """Return the name of the client scope that puts *audience*, and nothing else, into `aud`."""
    return _AUDIENCE + audience


def may_be_asked(scope: str) -> bool:
    """Tell whether a key's scope may be asked of the realm under its own name."""
    return not scope.startswith((_AUDIENCE, _ORGANIZATION)) and scope not in BUILT_IN | RESERVED_SCOPES
