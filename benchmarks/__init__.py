"""The same distillation step by hand, in one library alone: what `python -m experiments.bench` measures us against.

`benchmarks.jax`, `benchmarks.torch` and `benchmarks.tensorflow` each have a `make` and a `device`; nothing here knows
the project. `benchmarks.stock` is the same in Keras's own layers, for `keras.distillation.Distiller`, and
`benchmarks.loaders` what others feed images with.
"""
