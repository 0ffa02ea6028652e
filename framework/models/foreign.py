"""What backends ask of a model of their own library's before it is wrapped as a Keras model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from framework.errors import UserError, one_line

NUM_PROBES = 4
# The name of the variable that wrapped modules have beside their own: the seed and count of their random numbers.
DRAWS = "draws"


def probes(image_size: int) -> np.ndarray:
    """Views to try a model with: float32 [4, S, S, 3] in [-1, 1], always the same."""
    return np.random.default_rng(0).uniform(-1, 1, (NUM_PROBES, image_size, image_size, 3)).astype(np.float32)


@contextlib.contextmanager
def taking_views(who: str, *shape: int, own: int | None = None) -> Iterator[None]:
    """What fails within it is told as a model that doesn't take views of this shape.

    Args:
        who: what messages call the model.
        shape: of one view, with its channels.
        own: the side of the images that the model was built for, where it says.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # it is somebody else's code
        size = "SIZE" if own is None else own
        cure = (
            f"for a model of another image size, set views.teacher_size={size} (teacher) or views.size={size} (student)"
        )
        # Another number of arguments is no question of size.
        hint = "" if isinstance(error, TypeError) and "argument" in str(error) else f"{cure}; "
        raise UserError(
            f"{who} doesn't take views [B, {', '.join(map(str, shape))}]: {hint}{one_line(error)}"
        ) from error


def check_logits(name: str, outputs: Any) -> int:
    """Hold what a model gave for `probes` to be logits.

    Args:
        name: what messages call the model.
        outputs: float [4, C], if it is right.

    Returns:
        C, the number of classes.

    Raises:
        UserError: another shape, or probabilities.
    """
    shape = tuple(getattr(outputs, "shape", ()))
    if len(shape) != 2 or shape[0] != NUM_PROBES:
        found = f"{list(shape)} for {NUM_PROBES} images" if shape else f"a {type(outputs).__name__}"
        raise UserError(f"model {name!r} gives {found}, expected one tensor of logits [B, C]")
    if are_probabilities(np.asarray(outputs)):
        raise UserError(f"model {name!r} gives probabilities, expected logits: return what goes into its softmax")
    return shape[1]


def are_probabilities(outputs_bc: np.ndarray) -> bool:
    """Whether each row could be a distribution: nothing negative, and a sum of 1.

    >>> are_probabilities(np.array([[0.2, 0.8]])), are_probabilities(np.array([[-0.5, 1.5]]))
    (True, False)
    """
    sums = outputs_bc.astype(np.float64).sum(1)
    # Half precision knows a sum of many to some thousandths.
    return bool((outputs_bc >= 0).all() and np.abs(sums - 1).max() < 1e-2)


def named_variable(path: str, value: Any, **keywords: Any) -> keras.Variable:
    """A Keras variable of that path, `body/0/weight`, with the value given; the keywords are `keras.Variable`'s."""
    *scopes, name = path.split("/")
    with contextlib.ExitStack() as entered:
        for scope in scopes:
            entered.enter_context(keras.name_scope(scope))
        return keras.Variable(value, name=name, **keywords)
