"""What the core and the authority promise, each part on its own."""
