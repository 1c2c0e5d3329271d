"""Keystile: API keys in, JWTs out, beside the Keycloak you already run."""
