"""Adapters: one technology each, behind the ports."""
