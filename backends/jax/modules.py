"""A Flax (linen) module as a Keras model: its own variables, under its own names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from framework.models.foreign import DRAWS, check_any_number, check_logits, named_variable, probes, taking_views

# How modules name what says that they are being trained, and its value then.
TRAINING = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}


def wrap(made: Any, image_size: int, seed: int) -> keras.Model | None:
    """See `framework.models.catalog.install_wrapper`; `made` may also be a module with the variables that it has."""
    module, variables = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    # Whoever made a module has imported its library: nothing is imported here.
    linen = sys.modules.get("flax.linen")
    if linen is None or not isinstance(module, linen.Module):
        return None
    return FlaxModel(module, variables, image_size, seed)


class FlaxModel(keras.Model):
    """Calls a module; its variables are named by their path, those of other collections than `params` behind its name.

    Keras's own `FlaxLayer` numbers variables instead of naming them. One variable is added, `draws`: the seed and the
    number of training calls, from which the module's random numbers (dropout's) follow: a resumed run is exact.

    Args:
        module: takes float [B, S, S, 3] in [-1, 1] and gives logits [B, C].
        variables: what its `init` gives; None initialises it.
        image_size: S.
        seed: of its initial weights, and of the random numbers that it draws while it is trained.

    Raises:
        UserError: it doesn't take such views, or gives no logits.
    """

    def __init__(self, module: Any, variables: Mapping[str, Any] | None, image_size: int, seed: int) -> None:
        super().__init__(name=type(module).__name__.lower())
        self._module = module
        self._draws = keras.Variable(
            np.array([seed % 2**32, 0], np.uint32), name=DRAWS, dtype="uint32", trainable=False
        )
        known = inspect.signature(type(module).__call__).parameters
        self._flag = next((name for name in TRAINING if name in known), None)
        views, who = jnp.asarray(probes(image_size), self.compute_dtype), f"the Flax module {self.name!r}"
        with taking_views(who, image_size, image_size, 3, attempt=self._attempt(views, variables)):
            given = jax.jit(self._initial)(views) if variables is None else variables
            logits = jax.jit(lambda tree: module.apply(tree, views, **self._mode(False)))(given)
        self._num_classes = check_logits(self.name, logits)
        check_any_number(who, self._attempt(views, given))
        self._leaves = {path: _variable(path, leaf, self.variable_dtype) for path, leaf in _flat(given).items()}
        self.built = True

    def _initial(self, views: jax.Array) -> Any:
        key = jax.random.key(self._draws.value[0])
        return self._module.init({"params": key, "dropout": key}, views, **self._mode(False))

    def _attempt(self, views: jax.Array, variables: Mapping[str, Any] | None) -> Callable[[int], Any]:
        """Says of what shape the module's output is for a number of images; nothing is computed."""

        def traced(images: jax.Array) -> Any:
            tree = self._initial(images) if variables is None else variables
            return self._module.apply(tree, images, **self._mode(False))

        return lambda number: jax.eval_shape(traced, jnp.repeat(views[:1], number, axis=0))

    def _mode(self, training: bool) -> dict[str, bool]:
        return {} if self._flag is None else {self._flag: training == TRAINING[self._flag]}

    def call(self, views: jax.Array, training: bool = False) -> jax.Array:
        tree = self._tree()
        if not training:
            return self._module.apply(tree, views, **self._mode(False))
        seed, count = self._draws.value
        self._draws.assign(jnp.stack([seed, count + 1]))
        changing = [collection for collection in tree if collection != "params"]
        rngs = {"dropout": jax.random.fold_in(jax.random.key(seed), count)}
        logits, changed = self._module.apply(tree, views, rngs=rngs, mutable=changing, **self._mode(True))
        for path, value in _flat(changed).items():
            self._leaves[path].assign(value)
        return logits

    def given(self) -> tuple[Any, Mapping[str, Any]]:
        """The module and its variables, as its `apply` takes them."""
        return self._module, self._tree()

    def _tree(self) -> dict[str, Any]:
        from flax.traverse_util import unflatten_dict

        return unflatten_dict({path: variable.value for path, variable in self._leaves.items()}, sep="/")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return (input_shape[0], self._num_classes)


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves by path, `params/Dense_0/kernel`."""
    leaves = jax.tree_util.tree_flatten_with_path(dict(tree))[0]
    return {"/".join(str(getattr(part, "key", part)) for part in path): leaf for path, leaf in leaves}


def _variable(path: str, leaf: Any, dtype: str) -> keras.Variable:
    trainable = path.startswith("params/")
    array = np.asarray(leaf)
    kept = dtype if array.dtype.kind in "fV" else str(array.dtype)
    return named_variable(path.removeprefix("params/"), array, dtype=kept, trainable=trainable, autocast=False)
