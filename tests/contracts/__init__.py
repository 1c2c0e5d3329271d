"""One suite per port: what every adapter of it promises, and what one technology adds to that."""
