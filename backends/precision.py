"""Arithmetic of the models: Keras's dtype policy, and the one leak that it has in float64."""

from __future__ import annotations

import keras

from framework.spec import Precision


def apply(precision: Precision) -> None:
    """Set the policy that models built from now on compute with.

    Args:
        precision: `float32`, `float64`, `bfloat16`, or `mixed_bfloat16` (float32 variables, bfloat16 arithmetic).
    """
    keras.config.set_floatx("float64" if precision == "float64" else "float32")
    keras.config.set_dtype_policy(precision)
    if precision == "float64":
        keep_float64()


def keep_float64() -> None:
    """Stop Keras from mapping float64 to float32 in its promotion rules, as it does on JAX and PyTorch.

    Without it two backends agree to every digit on a wrong loss. The table is private: a test fails when it moves.
    """
    from keras.src.backend.common import dtypes

    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    for function in vars(dtypes).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
