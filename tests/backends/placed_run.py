"""Run by `test_placement.py` in a process of its own: trainers on a second device; says where all is."""

from __future__ import annotations

import gc
import sys
from typing import Any

import backends
from backends.base import Settings
from tests.backends.tiny import Tiny

TEACHER = {"name": "convnet", "options": {"widths": [8], "standardised": True}, "normalize": "caffe"}


def build(num_classes: int, image_size: int) -> Any:
    """A student with statistics, a seed and layers of Keras's own."""
    import keras

    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.BatchNormalization(momentum=0.8)(keras.layers.Conv2D(6, 3, strides=2)(inputs))
    x = keras.layers.Dropout(0.1, seed=7)(keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x)))
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))


def split_cpu() -> None:
    """Make two devices of TensorFlow's one."""
    import tensorflow as tf

    cpu, two = tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)


def places(name: str, made: list[Any]) -> set[str]:
    """The devices of all that an engine holds, or of `made` where it doesn't tell."""
    if name == "jax":
        import jax

        return {str(device) for array in jax.live_arrays() for device in array.devices()}
    if name == "torch":
        import torch

        return {str(each.device) for each in gc.get_objects() if isinstance(each, torch.Tensor)}
    return {each.device.rpartition("device:")[2].lower() for each in made}


def main(name: str, place: str) -> None:
    if name == "tensorflow":
        split_cpu()
    engine = backends.load(name)
    tiny = Tiny(engine, engine.configure(Settings(place, threads=1)))
    made: list[Any] = []
    for student, parts in ((f"{__spec__.name}:build", 1), ("convnet", 2)):
        options = {"widths": [8]} if student == "convnet" else {}
        spec = tiny.spec(student={"name": student, "options": options}, teachers=[TEACHER])
        trainer = tiny.trainer(spec, grad_accum_steps=parts)
        losses = tiny.run(trainer, spec, 30)
        assert losses[-1] < losses[0], losses
        trainer.evaluate(tiny.eval_batches())
        trainer.teach(tiny.batch(spec, 0))
        trainer.probe(tiny.batch(spec, 0))
        trainer.restore(trainer.state())
        metrics, seen = trainer.step(tiny.batch(spec, 0)), trainer.see(tiny.batch(spec, 0))[0]
        made += [
            variable.value for model in (trainer.task.student, *trainer.task.teachers) for variable in model.variables
        ]
        made += [
            *metrics.values(),
            *seen.values(),
            *(each for each in trainer.carry["moments"].values() for each in each),
        ]
    print(*sorted(places(name, made)))


if __name__ == "__main__":
    main(*sys.argv[1:])
