"""What Redis is used for: sealed verdicts, the change log with its floors, leases, limits, the fallback index."""
