"""What the process is told about precision."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from backends.base import Settings


def test_tensorfloat32_is_off_unless_asked_for(engine: Any) -> None:
    engine.configure(Settings("cpu"))
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    try:
        engine.configure(Settings("cpu", tf32=True))
        assert tf.config.experimental.tensor_float_32_execution_enabled()
    finally:
        engine.configure(Settings("cpu"))
