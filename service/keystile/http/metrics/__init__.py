"""The metrics: what this worker counted, put together with its siblings' when Prometheus asks."""
