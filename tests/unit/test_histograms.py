from __future__ import annotations

import pytest

from keystile.histograms import Histogram


@pytest.mark.parametrize(
    ("seconds", "place"), [(-5.0, 0), (0.0, 0), (0.1, 0), (0.100001, 1), (1.0, 1), (1.5, 2), (float("inf"), 2)]
)
def test_a_bound_counts_with_what_is_below_it(seconds: float, place: int) -> None:
    """Bounds are inclusive, as Prometheus reads them; what is above all of them is counted too."""
    histogram = Histogram((0.1, 1.0))
    histogram.observe(seconds)
    assert histogram.counts == [int(each == place) for each in range(3)]
    assert histogram.total == max(0.0, seconds)
