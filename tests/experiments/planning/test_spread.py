"""A run on many devices, on paper."""

from __future__ import annotations

import pytest

from experiments.planning.spread import Spread


def test_the_numbers_of_a_spread_run() -> None:
    one = Spread(1, 4096, 25_000_000, 3.2, 1000, 10e9)
    assert (one.reduced_bytes, one.seconds, one.efficiency) == (0.0, 3.2, 1.0)
    many = Spread(64, 4096, 25_000_000, 3.2, 1000, 10e9)
    # 100 MB of gradients, sent almost twice; a step of 50 ms without it.
    assert many.reduced_bytes == pytest.approx(2 * 63 / 64 * 100e6)
    assert many.seconds == pytest.approx(0.05 + 0.0196875)
    assert many.efficiency == pytest.approx(0.05 / 0.0696875)
    assert many.hours == pytest.approx(many.seconds * 1000 / 3600)
    assert many.euros == pytest.approx(many.hours * 64 * 2.5)
    # Eight devices a host, 64 examples each.
    assert many.images_a_host == pytest.approx(512 / many.seconds)
    assert "over 64 such devices, 64 examples each: 0.0697 s a step" in many.describe()
