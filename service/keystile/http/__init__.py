"""The HTTP edge: small ASGI doors for what happens on every request, Quart for everything else."""
