"""What one process keeps to itself: verdicts, leases, limits; and fakes that pass the same contracts."""
