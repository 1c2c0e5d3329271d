"""Keycloak as the directory, and the events that tell of changes made there."""
