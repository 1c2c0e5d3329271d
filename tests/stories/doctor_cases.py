"""What can be wrong with a deployment: each way to break it, all that doctor finds then, and the fix it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keystile.peppers import new_pepper
from stack.ports import free_port
from stories import broken
from stories.broken import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from stories.broken import Patient

SETUP = "run 'keystile keycloak setup'"
NEW_PEPPER = "make one with 'keystile peppers new', and put it first in KEYSTILE_PEPPERS"
NOBODY = "redis://127.0.0.1:{}/0"
ANSWERS = "see that the store answers"


def peppers(text: str) -> Callable[[Patient], str]:
    """Return the setting *text* with the deployment's own pepper, that one by the name of p2, and a fresh p2."""

    def setting(patient: Patient) -> str:
        p1 = patient.world.environment["KEYSTILE_PEPPERS"]
        return text.format(p1=p1, twin=p1.replace("p1", "p2", 1), new=new_pepper("p2"))

    return setting


@dataclass(frozen=True)
class Case:
    """What is broken, and all that doctor says of it: patterns of what is wrong, each with its fix."""

    name: str
    broken: broken.Break
    found: dict[str, str] = field(default_factory=dict)


CASES = [
    Case(
        "apiKeys is not declared",
        broken.profile(),
        {"not so: attribute apiKeys is declared, for administrators alone": SETUP},
    ),
    Case(
        "users may edit apiKeys",
        broken.profile(permissions={"view": ["admin", "user"], "edit": ["admin", "user"]}),
        {"not so: attribute apiKeys is declared, for administrators alone": SETUP},
    ),
    Case(
        "users may write what is not declared",
        broken.open_profile,
        {
            "users can write undeclared attributes of their own": (
                "set the realm's unmanaged attributes to ADMIN_EDIT or off"
            )
        },
    ),
    Case(
        "the reader has too few roles",
        broken.roles("keystile-reader", take="view-events"),
        {
            "not so: client keystile-reader has the roles view-events, view-realm, view-users": SETUP,
            "client keystile-reader lacks view-events.*": f"see that Keycloak answers, then {SETUP}",
        },
    ),
    Case(
        "the reader has too many",
        broken.roles("keystile-reader", give="view-clients"),
        {
            "client keystile-reader may do more than it needs": (
                "take the roles view-clients of realm-management from service-account-keystile-reader"
            )
        },
    ),
    Case(
        "the writer has too few",
        broken.roles("keystile-writer", take="manage-users"),
        {"not so: client keystile-writer has the roles manage-users, view-clients": SETUP},
    ),
    Case(
        "the writer has too many",
        broken.roles("keystile-writer", give="manage-realm"),
        {
            "client keystile-writer may do more than it needs": (
                "take the roles manage-realm of realm-management from service-account-keystile-writer"
            )
        },
    ),
    Case(
        "roles of clients are not marked",
        broken.no_marks,
        {"not so: roles are marked, so that the reader sees who holds them": SETUP},
    ),
    Case(
        "the tokens client has full scope",
        broken.client("keystile-tokens", fullScopeAllowed=True),
        {"not so: client keystile-tokens has full scope off": SETUP},
    ),
    Case(
        "a client has another secret",
        settings(KEYCLOAK_TOKENS_SECRET="wrong"),
        {"Keycloak gave keystile-tokens no token.*": f"see that Keycloak answers, then {SETUP}"},
    ),
    Case(
        "admin events are off",
        broken.realm(adminEventsEnabled=False),
        {"not so: the realm keeps the events Keystile follows": SETUP},
    ),
    Case(
        "user events are off",
        broken.realm(eventsEnabled=False),
        {"not so: the realm keeps the events Keystile follows": SETUP},
    ),
    Case(
        "admin events keep key records",
        broken.realm(adminEventsDetailsEnabled=True),
        {"not so: admin events are kept without details": SETUP},
    ),
    Case("the canary is gone", broken.no_canary, {"not so: the reader finds the canary": SETUP}),
    Case(
        "the realm has another public address",
        broken.realm_of_another_name,
        {
            "the realm calls itself https://id.example.com/realms/.*, so its tokens are not those of http://.*": (
                "set KEYSTILE_REALM_ISSUER=https://id.example.com/realms/{realm}"
            )
        },
    ),
    Case(
        "the realm's public keys are out of reach",
        broken.no_realm_keys,
        {
            "the keys that verify the realm's tokens cannot be had: .*": (
                "see that KEYSTILE_KEYCLOAK_URL is Keycloak's address, and that what is in front of it passes "
                "/realms/{realm}/protocol/openid-connect/certs on"
            )
        },
    ),
    Case(
        "Redis keeps nothing on disk",
        broken.redis("appendonly", "no"),
        {"Redis: appendonly is no, not yes": "set 'appendonly yes' in redis.conf"},
    ),
    Case(
        "Redis answers before it is on disk",
        broken.redis("appendfsync", "everysec"),
        {"Redis: appendfsync is everysec, not always": "set 'appendfsync always' in redis.conf"},
    ),
    Case(
        "Redis evicts",
        broken.redis("maxmemory-policy", "allkeys-lru"),
        {"Redis: maxmemory-policy is allkeys-lru, not noeviction": "set 'maxmemory-policy noeviction' in redis.conf"},
    ),
    Case(
        "Redis does not say what it keeps",
        broken.secretive_redis,
        {
            "nobody can tell what Redis keeps: Redis refused: .*": (
                "see that Redis answers at KEYSTILE_REDIS_URL, and lets its user run CONFIG GET"
            )
        },
    ),
    Case(
        "Redis is out of reach",
        settings(REDIS_URL=lambda _: NOBODY.format(free_port())),
        {
            "nobody can tell what Redis keeps: Redis is out of reach: .*": (
                "see that Redis answers at KEYSTILE_REDIS_URL, and lets its user run CONFIG GET"
            ),
            "nobody can tell which key signs: .*": ANSWERS,
        },
    ),
    Case(
        "no proxy is trusted",
        broken.key({"allowed_ips": ["192.0.2.0/24"]}),
        {
            "1 live keys are bound to addresses, origins, TLS or endpoints, and no proxy is trusted": (
                "set KEYSTILE_TRUSTED_PROXIES to the addresses of your gateway, like 10.0.0.7/32: "
                "until then they are refused"
            )
        },
    ),
    Case("a proxy is trusted", broken.key({"require_tls": True}, TRUSTED_PROXIES="127.0.0.1/32")),
    Case(
        "a key id is at two users",
        broken.copied_key,
        {
            "the key id [0-9a-z]{12} is at thief-.* and victim-.*, and is refused for both": (
                "take it out of apiKeys and apiKeyLookup of who was not issued it, or 'keystile keys revoke .*'"
            )
        },
    ),
    Case(
        "older keys are left, and not served",
        broken.older_key(OLDER_KEYS="false"),
        {
            "1 keys of the older form are left, and are not served": (
                "set KEYSTILE_OLDER_KEYS=true, or end each with 'keystile keys revoke KEY_ID'"
            )
        },
    ),
    Case(
        "older keys are left",
        broken.older_key(),
        {
            "1 keys of the older form are left: they have no stamp, so forged ones cost look-ups": (
                "give each a successor with 'keystile keys rotate KEY_ID', then unset KEYSTILE_OLDER_KEYS"
            )
        },
    ),
    Case(
        "more older keys are left than bcrypt can match",
        broken.older_key(OLDER_BCRYPT_RECORDS="0"),
        {
            "1 keys of the older form are left: .*": "give each a successor with .*",
            "1 older keys need bcrypt to be found, and only 0 are tried": (
                "set KEYSTILE_OLDER_HMAC_SECRET to the secret of their cacheHash, or raise "
                "KEYSTILE_OLDER_BCRYPT_RECORDS"
            ),
        },
    ),
    Case(
        "a pepper is too short",
        settings(PEPPERS="p1:AAAA"),
        {"KEYSTILE_PEPPERS: the secret of pepper p1 is shorter than 32 bytes": NEW_PEPPER},
    ),
    Case("no pepper is set", settings(PEPPERS=""), {"KEYSTILE_PEPPERS is needed with .*": NEW_PEPPER}),
    Case(
        "a pepper was typed by somebody",
        settings(PEPPERS=peppers("typed:Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSwgdHdpY2U,{p1}")),
        {
            "pepper typed was not drawn at random": (
                "put one from 'keystile peppers new' first in KEYSTILE_PEPPERS, and drop typed once removable"
            )
        },
    ),
    Case(
        "a pepper was given another id and nothing more",
        settings(PEPPERS=peppers("{twin},{p1}")),
        {
            "pepper p1 is p2 by another name": (
                "put one from 'keystile peppers new' first in KEYSTILE_PEPPERS, and drop p1 once removable"
            )
        },
    ),
    Case(
        "a retired pepper is needed",
        settings(PEPPERS=peppers("{new},{p1}:retired")),
        {
            r"pepper p1 \(retired\): \d+ digests and \d+ stamps of live keys: it proves none of them, .*": (
                "take ':retired' off p1 in KEYSTILE_PEPPERS, or if it leaked let each key be used once"
            )
        },
    ),
    Case(
        "a pepper that is needed is gone",
        settings(PEPPERS=peppers("{new}")),
        {
            r"pepper p1 is not set: \d+ digests and \d+ stamps of live keys need it": (
                "put p1 into KEYSTILE_PEPPERS, retired if it leaked; if it is lost, KEYSTILE_STAMPS=advisory"
            )
        },
    ),
    Case(
        "the issuer is not what the servers say",
        settings(ISSUER=lambda patient: f"{patient.world.server.url}/sts"),
        {
            "the server at http://.* calls itself 'http://.*/sts', and KEYSTILE_ISSUER is 'http://.*/sts'": (
                "set KEYSTILE_ISSUER to the public URL, the same here and for every 'keystile serve'"
            )
        },
    ),
    Case(
        "the public URL leads nowhere",
        settings(ISSUER=lambda _: f"http://127.0.0.1:{free_port()}/sts"),
        {
            "the metadata cannot be had: .* does not answer: .*": "see that KEYSTILE_ISSUER is the public URL, .*",
            "the server at .* calls itself .*, and KEYSTILE_ISSUER is .*": "set KEYSTILE_ISSUER to the public URL, .*",
            "the public keys cannot be had: .* does not answer: .*": "see that KEYSTILE_ISSUER is the public URL, .*",
        },
    ),
    Case(
        "the gateway forgets the metadata",
        broken.gateway("/.well-known"),
        {
            "the metadata cannot be had: http://.*/.well-known/oauth-authorization-server/sts answers 404": (
                "see that KEYSTILE_ISSUER is the public URL, and that what is in front of Keystile passes "
                "/.well-known/oauth-authorization-server/sts on"
            )
        },
    ),
    Case(
        "the gateway forgets the public keys",
        broken.gateway("/jwks.json"),
        {
            "the public keys cannot be had: http://.*/sts/jwks.json answers 404": (
                "see that KEYSTILE_ISSUER is the public URL, and that what is in front passes /sts/jwks.json on"
            )
        },
    ),
    Case(
        "the servers have other signing keys",
        broken.signing_keys(broken.another_key),
        {
            "none of the keys in .* is shown at http://.*/sts/jwks.json": (
                "give every process, and this command, the same signing keys: KEYSTILE_SIGNING_KEYS_DIR"
            )
        },
    ),
    Case(
        "the next signing key is not where the servers look",
        broken.signing_keys(broken.next_key),
        {"the next signing key rs256-2.pem is not loaded by .*": ("bring that file to where they run, or stop them")},
    ),
    Case(
        "a file is no signing key",
        broken.file("signing-keys/scribble.pem", "no key"),
        {"the signing key .*/scribble.pem cannot be read: .*": "mend or remove that file"},
    ),
    Case(
        "everybody can read a signing key",
        broken.mode("signing-keys/rs256.pem", 0o604),
        {"everybody on this machine can read .*/rs256.pem": "chmod o-rwx .*/rs256.pem"},
    ),
    Case(
        "others can write to the data folder",
        broken.mode(".", 0o770),
        {"others can write to .*/data": "chmod go-w .*/data"},
    ),
    Case(
        "a stranger's file is in the journal",
        broken.file("journal/abcdefghijkl.death", "{}"),
        {".*abcdefghijkl.*": "look at it, and remove it"},
    ),
    Case(
        "a setting is none",
        settings(TOKEN_TTL="2h"),
        {"KEYSTILE_TOKEN_TTL is between 1s and 1h": "correct that setting: the README's table has them all"},
    ),
]
