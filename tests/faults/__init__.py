"""Faults on real servers: what is promised while something is slow, silent, full or gone, and after it."""
