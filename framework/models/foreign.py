"""What backends ask of a model of their own library's before it is wrapped as a Keras model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from framework.errors import UserError, one_line, some

NUM_PROBES = 4
# Numbers of images, one of which a model may have been made for.
_NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128)
_ANY = "it must take any number, and leave the first axis as it is"
# The name of the variable that wrapped modules have beside their own: the seed and count of their random numbers.
DRAWS = "draws"


def probes(image_size: int) -> np.ndarray:
    """Views to try a model with: float32 [4, S, S, 3] in [-1, 1], always the same."""
    return np.random.default_rng(0).uniform(-1, 1, (NUM_PROBES, image_size, image_size, 3)).astype(np.float32)


@contextlib.contextmanager
def taking_views(
    who: str, *shape: int, own: int | None = None, attempt: Callable[[int], Any] | None = None
) -> Iterator[None]:
    """What fails within it is told as a model that doesn't take views of this shape.

    Args:
        who: what messages call the model.
        shape: of one view, with its channels.
        own: the side of the images that the model was built for, where it says.
        attempt: calls the model with a number of images.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # it is somebody else's code
        if attempt is not None and (number := _taken(attempt)) is not None:
            raise UserError(
                f"{who} takes {some(number, 'image', 'images')} at a time and no other number: {_ANY}"
            ) from error
        size = "SIZE" if own is None else own
        cure = (
            f"for a model of another image size, set views.teacher_size={size} (teacher) or views.size={size} (student)"
        )
        # Another number of arguments, or of channels, is no question of size.
        is_other = isinstance(error, TypeError) and "argument" in str(error)
        colours = "views have the 3 channels red, green and blue; " if "channel" in str(error) else f"{cure}; "
        hint = "" if is_other else colours
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


def check_any_number(who: str, attempt: Callable[[int], Any]) -> None:
    """Refuse a model that takes as many images as there are probes, and no others.

    Args:
        who: what messages call the model.
        attempt: calls it with a number of images, and returns what it gives or something of that shape.
    """
    try:
        shape = tuple(getattr(attempt(1), "shape", ()))
    except Exception as error:  # it is somebody else's code
        raise UserError(f"{who} takes {NUM_PROBES} images, but not one: {_ANY}; {one_line(error)}") from error
    if len(shape) != 2 or shape[0] not in (None, 1):
        raise UserError(f"{who} gives {list(shape)} for one image: {_ANY} (a squeeze takes away an axis of 1)")


def _taken(attempt: Callable[[int], Any]) -> int | None:
    """The first number of images with which a model can be called."""
    for number in _NUMBERS:
        with contextlib.suppress(Exception):
            attempt(number)
            return number
    return None


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
