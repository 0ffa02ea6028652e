"""A model's parameters by name: reading, assigning, and drawing the initial ones.

An initial parameter is a pure function of (seed, name), drawn in numpy: one spec starts from the same weights on every
backend without exchanging a file, whatever else was built before.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from framework.data.threads import num_threads
from framework.errors import UserError, near

Array = np.ndarray
Variable = Any  # keras.Variable, of which each backend has its own class

# The standard deviation of a normal distribution that was cut at two standard deviations.
TRUNCATED_STD = 0.87962566103423978
# Pairs of numbers that are drawn at once.
_PAIRS = 2**15


def parameters(model: keras.Model) -> dict[str, Variable]:
    """All variables of a model by name, trainable or not, in the model's order.

    The name is Keras's path less the model's own name, `block1/unit01/conv1/kernel`. Where two layers share a path (a
    layer's name used in two nested models), later ones get `#2`, `#3`, ...

    Args:
        model: any built Keras model.

    Raises:
        UserError: the model has no variables yet.
    """
    variables = model.variables
    if not variables:
        raise UserError(f"model {model.name!r} has no variables: call its build((None, size, size, 3)) first")
    prefix = f"{model.name}/"
    owned = all(variable.path.startswith(prefix) for variable in variables)
    named: dict[str, Variable] = {}
    for variable in variables:
        path = variable.path[len(prefix) :] if owned else variable.path
        named[_unused(path, named)] = variable
    return named


def _unused(path: str, taken: Mapping[str, Any]) -> str:
    count, name = 1, path
    while name in taken:
        count += 1
        name = f"{path}#{count}"
    return name


def assign(model: keras.Model, arrays: Mapping[str, Array], dont_load: Sequence[str] = ()) -> list[str]:
    """Fill a model by name, strictly: every parameter from `arrays`, and every array used.

    Args:
        model: any built Keras model.
        arrays: name to values, as `parameters` names them.
        dont_load: regular expressions that match whole names; those keep the values they have.

    Returns:
        The names of the parameters that kept their values.

    Raises:
        UserError: a parameter or an array is without its counterpart, or shapes differ; nothing was assigned then.
    """
    patterns = [re.compile(pattern) for pattern in dont_load]
    named = parameters(model)
    wanted = {name: v for name, v in named.items() if not any(p.fullmatch(name) for p in patterns)}
    given = {name: a for name, a in arrays.items() if not any(p.fullmatch(name) for p in patterns)}
    _check_names(model.name, wanted, given)
    for name, variable in wanted.items():
        if tuple(variable.shape) != given[name].shape:
            raise UserError(f"{model.name}: {name} is {tuple(variable.shape)}, the array is {given[name].shape}")
    for name, variable in wanted.items():
        variable.assign(given[name])
    return [name for name in named if name not in wanted]


def _check_names(model: str, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing, e.g. {_example(missing, unexpected or given)}")
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected, e.g. {_example(unexpected, missing or wanted)}")
    if problems:
        raise UserError(f"the arrays don't fit model {model!r}: {'; '.join(problems)}; dont_load=[regex] excludes some")


def _example(names: Sequence[str], others: Any) -> str:
    hint, found, _ = near(names[0], others).partition("? ")
    return f"{names[0]} ({hint}?)" if found else names[0]


def initialise(model: keras.Model, seed: int, names: Collection[str] | None = None) -> None:
    """Draw the parameters of one of our models, on all cores.

    Args:
        model: built, its parameters named by the rules of `initial_value`; its `zero_kernels`, where it has that,
            names the kernels that start at zero.
        seed: any whole number.
        names: of the parameters that are drawn; None draws all.
    """
    zero, named = getattr(model, "zero_kernels", ()), parameters(model)

    def value(name: str, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, np.float32) if name in zero else initial_value(name, shape, seed)

    draw(named if names is None else {name: named[name] for name in names}, value)


def draw(named: Mapping[str, Variable], value: Callable[[str, tuple[int, ...]], Array]) -> None:
    """Fill variables by name with what `value` gives for a name and a shape, which is called on all cores."""
    items = [(name, tuple(variable.shape)) for name, variable in named.items()]
    count = num_threads(most=len(items) or 1)
    with ThreadPoolExecutor(count) as pool:
        # Some at a time: all of them would be the model once more.
        for place in range(0, len(items), count):
            some = items[place : place + count]
            for (name, _), drawn in zip(some, pool.map(value, *zip(*some, strict=True)), strict=True):
                named[name].assign(drawn)


def initial_value(name: str, shape: tuple[int, ...], seed: int) -> Array:
    """The initial value of one parameter: kernels LeCun-normal, scales one, biases zero.

    Args:
        name: its last part (`kernel`, `scale`, `bias`, ...) decides on the distribution.
        shape: of the parameter; a kernel's last axis is its output.
        seed: any whole number.

    Returns:
        float32 of that shape.

    Raises:
        ValueError: no rule for such a name.
    """
    role = name.rsplit("/", 1)[-1]
    if role in ("scale", "moving_variance"):
        return np.ones(shape, np.float32)
    if role in ("bias", "moving_mean"):
        return np.zeros(shape, np.float32)
    if role == "kernel":
        std = 1.0 / np.sqrt(np.prod(shape[:-1]))
        return truncated_normal(f"{seed}:{name}", math.prod(shape), std / TRUNCATED_STD, np.float32).reshape(shape)
    raise ValueError(f"no initial distribution for a parameter called {role!r} ({name})")


def truncated_normal(key: str, count: int, scale: float = 1.0, dtype: type = np.float64) -> Array:
    """Draws of a standard normal cut at two standard deviations, a pure function of the key.

    Args:
        key: any text.
        count: how many.
        scale: a factor.
        dtype: of the result; the draws themselves are float64.

    Returns:
        [count] in scale * [-2, 2).
    """
    # Raw bits, because numpy promises those for ever, and not the streams of its distributions. Rejection from a
    # uniform number, because its result is exact arithmetic: no backend's or processor's `log` is in it.
    digest = hashlib.sha256(key.encode()).digest()
    source = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    drawn: Array = np.empty(count, dtype)
    done = 0
    while done < count:
        # No more at once than a core's cache holds.
        raw = source.random_raw(2 * min(_PAIRS, 2 * (count - done) + 32))
        raw >>= np.uint64(11)
        position, height = (raw.astype(np.float64) * 2.0**-53).reshape(-1, 2).T
        values = 4.0 * position - 2.0
        kept = values[height < np.exp(-0.5 * values * values)][: count - done]
        np.multiply(kept, scale, out=drawn[done : done + len(kept)], casting="same_kind")
        done += len(kept)
    return drawn
