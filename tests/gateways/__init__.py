"""What the shipped gateways do, on the real ones."""
