"""A model's parameters by name: reading, assigning, and drawing the initial ones.

An initial parameter is a pure function of (seed, name), drawn in numpy: one spec starts from the same weights on every
engine without exchanging a file, whatever else was built before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from framework.errors import UserError, near

Array = np.ndarray
Variable = Any  # keras.Variable, of which each engine has its own class

# The standard deviation of a normal distribution that was cut at two standard deviations.
TRUNCATED_STD = 0.87962566103423978


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


def assign(model: keras.Model, arrays: Mapping[str, Array], dont_load: Sequence[str] = ()) -> None:
    """Fill a model by name, strictly: every parameter from `arrays`, and every array used.

    Args:
        model: any built Keras model.
        arrays: name to values, as `parameters` names them.
        dont_load: regular expressions that match whole names; those keep the values they have.

    Raises:
        UserError: a parameter or an array is without its counterpart, or shapes differ; nothing was assigned then.
    """
    kept = [re.compile(pattern) for pattern in dont_load]
    wanted = {name: v for name, v in parameters(model).items() if not any(p.fullmatch(name) for p in kept)}
    given = {name: a for name, a in arrays.items() if not any(p.fullmatch(name) for p in kept)}
    _check_names(model.name, wanted, given)
    for name, variable in wanted.items():
        if tuple(variable.shape) != given[name].shape:
            raise UserError(f"{model.name}: {name} is {tuple(variable.shape)}, the array is {given[name].shape}")
    for name, variable in wanted.items():
        variable.assign(given[name])


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


def initialise(model: keras.Model, seed: int) -> None:
    """Draw all parameters of one of our models.

    Args:
        model: built, its parameters named by the rules of `initial_value`; its `zero_kernels`, where it has that,
            names the kernels that start at zero.
        seed: any whole number.
    """
    zero = getattr(model, "zero_kernels", ())
    for name, variable in parameters(model).items():
        shape = tuple(variable.shape)
        variable.assign(np.zeros(shape, np.float32) if name in zero else initial_value(name, shape, seed))


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
        drawn = truncated_normal(f"{seed}:{name}", int(np.prod(shape)))
        return (drawn * (std / TRUNCATED_STD)).astype(np.float32).reshape(shape)
    raise ValueError(f"no initial distribution for a parameter called {role!r} ({name})")


def truncated_normal(key: str, count: int) -> Array:
    """Draws of a standard normal cut at two standard deviations, a pure function of the key.

    Args:
        key: any text.
        count: how many.

    Returns:
        float64 [count] in [-2, 2).
    """
    # Raw bits, because numpy promises those for ever, and not the streams of its distributions. Rejection from a
    # uniform number, because its result is exact arithmetic: no engine's or processor's `log` is in it.
    digest = hashlib.sha256(key.encode()).digest()
    source = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    kept = np.empty(0)
    while len(kept) < count:
        pairs = source.random_raw(4 * (count - len(kept)) + 64).reshape(-1, 2)
        position, height = ((pairs >> np.uint64(11)).astype(np.float64) * 2.0**-53).T
        values = 4.0 * position - 2.0
        kept = np.concatenate([kept, values[height < np.exp(-0.5 * values * values)]])
    return kept[:count]
