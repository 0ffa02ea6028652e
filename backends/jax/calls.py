"""A model called outside of any training: compiled as a whole, where JAX would compile each of its operations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import keras

from framework.task import mode

# Of the last calls: students of one shape are one program, and a model that keeps nothing is so in training as well.
_programs: dict[Any, Any] = {}
_KEPT = 16


def call(model: keras.Model, batches: Sequence[Any], training: bool) -> list[Any]:
    """See `framework.models.calls.called`. It is traced anew in each call: what Python keeps of the last one shows."""
    variables = model.variables

    def answer(values: list[Any], views: Any) -> tuple[Any, dict[int, Any]]:
        with keras.StatelessScope(state_mapping=[*zip(variables, values, strict=True)]) as scope:
            outputs = model(views, **mode(model, training))
        now = [scope.get_current_value(variable) for variable in variables]
        return outputs, {place: new for place, new in enumerate(now) if new is not values[place]}

    # What isn't used is kept, or two programs of other variables could look alike.
    whole = jax.jit(answer, keep_unused=True)
    program = _compiled(whole.lower([variable.value for variable in variables], batches[0]))
    given = []
    for views in batches:
        outputs, changed = program([variable.value for variable in variables], views)
        for place, new in changed.items():
            variables[place].assign(new)
        given.append(outputs)
    return given


def _compiled(lowered: Any) -> Any:
    """The program, or the one of these very operations and constants that is there already."""
    text = hashlib.sha256(lowered.as_text().encode()).digest()
    key = text, lowered.in_tree, lowered.out_tree
    if key not in _programs:
        if len(_programs) == _KEPT:
            del _programs[next(iter(_programs))]
        _programs[key] = lowered.compile()
    return _programs[key]
