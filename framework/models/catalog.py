"""Models by name, by import path or from a `.keras` file.

Every model takes float views [B, S, S, 3] in [-1, 1] and gives logits [B, C], before any softmax.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import keras

from framework.errors import UserError, near, one_line
from framework.files.paths import path_of
from framework.models.foreign import check_any_number, check_logits, probes, taking_views
from framework.models.initial import initialise
from framework.models.weights import keras_model
from framework.spec.named import check_options, imported, running

MODELS = {
    "bit": "framework.models.bit:bit",
    "convnet": "framework.models.convnet:convnet",
    "efficientnet_lite": "framework.models.efficientnet_lite:efficientnet_lite",
    "mobilenet_v3": "framework.models.mobilenet_v3:mobilenet_v3",
}

# What is said of a model of another library's that nothing here wraps.
LIBRARIES = {
    "torch": "a torch.nn.Module needs backend=torch",
    "flax": "a Flax module needs backend=jax, and to be a flax.linen.Module",
}
# The layers between which activations are kept where the rest is to be computed again.
BLOCKS = {
    "bit": tuple(f"unit{number:02d}" for number in range(1, 100)),
    "convnet": tuple(f"stage{number}" for number in range(1, 100)),
}
# Turns what a builder returned into a Keras model where it belongs to the backend's own library, else returns None.
Wrapper = Callable[[Any, int, int], keras.Model | None]
_wrappers: list[Wrapper] = []
# What every builder is called with.
_OURS = ("num_classes", "image_size")
# By these arguments a function of `keras.applications` is known.
_APPLICATION = {"classes", "input_shape", "include_top", "weights", "classifier_activation"}


def install_wrapper(wrapper: Wrapper | None) -> None:
    """Let a backend wrap its library's own modules (`torch.nn.Module`, a Flax module); None takes that back.

    Args:
        wrapper: called with what the builder returned, the image size and the seed; gives a Keras model, or None if it
            doesn't know the object.
    """
    _wrappers[:] = [wrapper] if wrapper else []


def build(name: str, options: Mapping[str, Any], num_classes: int, image_size: int, seed: int | None) -> keras.Model:
    """Build a model, with its initial weights.

    Args:
        name: a name of `MODELS`; or `package.module:function`, called with `num_classes=`, `image_size=` and the
            options; or `keras.applications:MobileNetV2` and its like, with weights only if `options` says so; or the
            path of a `.keras` file, which takes no options.
        options: the builder's own arguments.
        num_classes: logits the model must give.
        image_size: side of the square views, in pixels.
        seed: of the initial weights. Our own models' are a pure function of it and the parameters' names; before
            somebody else's builder it seeds Keras, and the model keeps the weights that it came with. None draws none
            for our own, which then are zero: for a model that is filled at once, or that is only timed or counted.

    Returns:
        A built model: float [B, image_size, image_size, 3] in [-1, 1] to logits [B, num_classes].

    Raises:
        UserError: there is no such model or option, or what it gives are not logits of that number of classes.
    """
    if name in MODELS:
        model = call(name, imported(MODELS[name], "model"), options, num_classes, image_size)
        if seed is not None:
            initialise(model, seed)
        return model
    seed = seed or 0
    restart_names()
    with _unless_imported("tensorflow"):
        keras.utils.set_random_seed(seed % 2**32)
    if name.endswith(".keras"):
        return _tried(name, _from_file(name, options), num_classes, image_size)
    if ":" not in name:
        raise UserError(f"unknown model {name!r}: {near(name, MODELS)}; or package.module:function, or a .keras file")
    made = call(name, imported(name, "model"), options, num_classes, image_size)
    if isinstance(made, keras.Model):
        return _tried(name, made, num_classes, image_size)
    return _checked(name, _as_keras(name, made, image_size, seed), num_classes, image_size)


def given(made: Any, who: str, image_size: int, seed: int) -> keras.Model:
    """A model that was handed over, as a Keras model: one already, or a module of the backend's own library.

    Args:
        made: the model; of Flax a module, or the pair of a module and its variables.
        who: what messages call it, `"student"`.
        image_size: side of its views, in pixels.
        seed: of what it draws.

    Raises:
        UserError: it is no model that this backend knows.
    """
    return made if isinstance(made, keras.Model) else _as_keras(who, made, image_size, seed)


@contextmanager
def _unless_imported(name: str) -> Iterator[None]:
    """Let a library that nothing has imported yet be missing: Keras would import it for seconds to seed it as well."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def rematerialised(name: str) -> keras.RematScope:
    """A context in which a model is built whose blocks compute their activations again in the backward pass.

    Raises:
        UserError: it is not known which layers its blocks are, or they keep statistics as they compute.
    """
    if name not in BLOCKS:
        raise UserError(
            f"remat = True: student.name = {name!r}: allowed: {', '.join(BLOCKS)}; a builder of your own can use "
            "keras.RematScope itself"
        )
    return keras.RematScope(mode="list_of_layers", layer_names=BLOCKS[name])


def is_untrained(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a model of that name is built with random weights for certain: ours, and Keras's unless asked."""
    return name in MODELS or (name.startswith("keras.applications") and not options.get("weights"))


def restart_names() -> None:
    """Keras numbers unnamed layers through the process: the names must not depend on what was built before."""
    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)


def call(name: str, function: Callable[..., Any], options: Mapping[str, Any], num_classes: int, image_size: int) -> Any:
    """Call a builder with checked options; arguments and errors as in `build`, the result is what it returns."""
    known = inspect.signature(function).parameters
    if _APPLICATION.issubset(known):
        return _application(name, function, options, num_classes, image_size)
    check_options(function, options, _OURS, f"model {name!r}")
    for needed in _OURS:
        if needed not in known and not any(each.kind is each.VAR_KEYWORD for each in known.values()):
            raise UserError(
                f"model {name!r}: its function must take {needed}= (it takes {', '.join(known) or 'nothing'})"
            )
    # An error of ours is a fault, and none of the user's.
    with nullcontext() if name in MODELS else running(f"model {name!r}"):
        return function(num_classes=num_classes, image_size=image_size, **options)


def _application(
    name: str, function: Callable[..., Any], options: Mapping[str, Any], num_classes: int, image_size: int
) -> keras.Model:
    """One of `keras.applications`: its logits, without weights unless asked, its input like the views if it can."""
    known = inspect.signature(function).parameters
    ours = {"classes": num_classes, "input_shape": (image_size, image_size, 3), "classifier_activation": None}
    accepted = [option for option in known if option not in (*ours, "include_top", "input_tensor", "pooling")]
    for option in options:
        if option not in accepted:
            raise UserError(f"model {name!r} has no option {option!r}: {near(option, accepted)}")
    usual = {"weights": None, "include_preprocessing": False}
    chosen = {option: value for option, value in usual.items() if option in known} | dict(options)
    try:
        return function(**ours, **chosen)
    except (ValueError, OSError) as error:
        raise UserError(f"model {name!r}: {one_line(error)}") from error


def _from_file(name: str, options: Mapping[str, Any]) -> Any:
    if options:
        raise UserError(f"model {name!r}: a .keras file takes no options, got {', '.join(options)}")
    path = path_of(name)
    if not path.is_file():
        raise UserError(f"model {name!r}: there is no such file (from {Path.cwd()})")
    return keras_model(path, f"model {name!r} can't be loaded")


def _as_keras(name: str, made: Any, image_size: int, seed: int) -> keras.Model:
    for wrapper in _wrappers:
        wrapped = wrapper(made, image_size, seed)
        if wrapped is not None:
            return wrapped
    kind = f"{type(made).__module__}.{type(made).__qualname__}".removeprefix("builtins.")
    libraries = [base.__module__.partition(".")[0] for base in type(made).__mro__]
    hint = next((f": {LIBRARIES[library]}" for library in libraries if library in LIBRARIES), "")
    raise UserError(f"model {name!r}: expected a keras.Model, received a {kind}{hint}")


def _checked(name: str, model: Any, num_classes: int, image_size: int) -> keras.Model:
    """Build it where it isn't yet, and refuse what doesn't take the views or doesn't give logits."""
    shape = (image_size, image_size, 3)

    def attempt(number: int | None) -> Any:
        return model(keras.KerasTensor((number, *shape), dtype=model.compute_dtype))

    with taking_views(f"model {name!r}", *shape, own=_own_size(model), attempt=attempt):
        logits = attempt(None)
    given = tuple(getattr(logits, "shape", ()))
    if len(given) != 2 or given[1] != num_classes:
        found = f"[{', '.join(map(str, ('B', *given[1:])))}]" if given else type(logits).__name__
        raise UserError(f"model {name!r} gives {found}, expected logits [B, {num_classes}]")
    activation = _final_activation(model)
    if activation in ("softmax", "sigmoid"):
        raise UserError(f"model {name!r} ends in {activation}, expected logits: {_LOGITS_HINT}")
    return model


def _own_size(model: Any) -> int | None:
    """The side of the images that a model was built for, where it says."""
    shape = getattr(model, "input_shape", None)
    return shape[1] if isinstance(shape, tuple) and len(shape) == 4 and isinstance(shape[1], int) else None


def _tried(name: str, model: Any, num_classes: int, image_size: int) -> keras.Model:
    """A model of a class of its own shows its last operation only by what it gives."""
    _checked(name, model, num_classes, image_size)
    if not getattr(model, "outputs", None):
        views = keras.ops.convert_to_tensor(probes(image_size), dtype=model.compute_dtype)
        check_logits(name, keras.ops.convert_to_numpy(keras.ops.cast(model(views), "float32")))
        check_any_number(f"model {name!r}", lambda number: model(views[:number]))
    return model


_LOGITS_HINT = "build it without (classifier_activation=None), or set model.layers[-1].activation = None and save again"


def _final_activation(model: keras.Model) -> str:
    """The name of the last operation's activation where that can be seen, else an empty text."""
    last: Any = model
    while True:
        if getattr(last, "outputs", None):
            last = last.outputs[0]._keras_history.operation
        elif getattr(last, "layers", None):
            last = last.layers[-1]
        else:
            break
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    return activation or type(last).__name__.lower()
