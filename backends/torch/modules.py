"""A `torch.nn.Module` as a Keras model: its own parameters and buffers, under its own names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import torch
from torch import nn

from framework.errors import UserError
from framework.models.calls import plainly
from framework.models.foreign import DRAWS, check_any_number, check_logits, named_variable, probes, taking_views

Tensor: TypeAlias = torch.Tensor
_PARTS = (nn.Module, nn.Parameter)


def call(model: keras.Model, batches: Sequence[Tensor], training: bool) -> list[Any]:
    """See `framework.models.calls.install_call`: what is trained keeps what its gradient follows from."""
    with torch.set_grad_enabled(training):
        return plainly(model, batches, training)


def wrap(made: Any, image_size: int, seed: int) -> keras.Model | None:
    """See `framework.models.catalog.install_wrapper`."""
    if not isinstance(made, nn.Module) or isinstance(made, keras.layers.Layer):
        return None
    try:
        made.eval()
    except NotImplementedError:
        raise UserError(
            "the torch module is what torch.export made of one, and knows one mode: give the module itself"
        ) from None
    _refuse_hidden(made)
    return TorchModel(made, image_size, seed)


def _refuse_hidden(module: nn.Module) -> None:
    """Refuse layers that PyTorch doesn't see, or that have no values: they would be neither trained nor stored."""
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            raise UserError(f"the torch module's {name!r} has no values, it is on the device 'meta': load its weights")
    for name, held in module.state_dict().items():
        # Packed weights are a tensor and its bias, or an object of PyTorch's C code.
        parts = held if isinstance(held, tuple) else (held,)
        if any(getattr(part, "is_quantized", False) or isinstance(part, torch.ScriptObject) for part in parts):
            raise UserError(
                f"the torch module's {name!r} is quantised, which PyTorch counts among neither parameters nor buffers: "
                "give the network as it was before"
            )
    known = {id(part) for part in (*module.modules(), *module.parameters())}
    for path, owner in module.named_modules():
        for key, value in vars(owner).items():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            if key[:1] != "_" and any(isinstance(each, _PARTS) and id(each) not in known for each in held):
                where = f"{path}.{key}" if path else key
                raise UserError(
                    f"the torch module keeps layers or parameters in {where!r}, a {type(value).__name__}, where "
                    "PyTorch doesn't see them: they would not be trained or stored; use torch.nn.ModuleList, "
                    "ModuleDict, ParameterList or ParameterDict"
                )


class TorchModel(keras.Model):
    """Calls a module with NCHW views; its variables are the module's own tensors, `body/0/weight` its `body.0.weight`.

    Keras's own `TorchModuleWrapper` knows neither names nor buffers. One variable is added, `draws`: the seed and
    the number of training calls, from which the module's random numbers (dropout's) follow: a resumed run is exact.

    Args:
        module: takes float [B, 3, S, S] in [-1, 1] and gives logits [B, C].
        image_size: S.
        seed: of the random numbers that the module draws while it is trained.

    Raises:
        UserError: it doesn't take such views, gives no logits, or isn't initialised.
    """

    def __init__(self, module: nn.Module, image_size: int, seed: int) -> None:
        super().__init__(name=type(module).__name__.lower())
        # In a tuple, or Keras would wrap it again.
        self._held = (module.to("cpu", getattr(torch, self.variable_dtype)),)
        with keras.device("cpu"):
            self._places = list(_owned(module))
            self._tensors = [_variable(place.name, place.tensor) for place in self._places]
            self._draws = keras.Variable([seed % 2**62, 0], name=DRAWS, dtype="int64", trainable=False)
        self._takes_copies = False
        self._num_classes = self._checked_outputs(image_size)
        self.built = True

    def _checked_outputs(self, image_size: int) -> int:
        views = torch.from_numpy(probes(image_size)).to(getattr(torch, self.compute_dtype))
        who = f"the torch module {self.name!r}"

        def attempt(number: int) -> Any:
            return self._tried(views[:1].repeat(number, 1, 1, 1))

        with torch.no_grad(), taking_views(who, 3, image_size, image_size, attempt=attempt):
            logits = self._tried(views)
            if torch.is_tensor(logits):
                logits = logits.to_dense().float().numpy()
            num_classes = check_logits(self.name, logits)
            check_any_number(who, attempt)
        return num_classes

    def _tried(self, views: Tensor) -> Any:
        """What the module gives; one that needs channels first in memory, or writes into its input, gets copies."""
        before = views.clone()
        try:
            logits = self._forward(views, False)
        except RuntimeError as error:
            if "view size is not compatible" not in str(error):
                raise
            self._takes_copies = True
            return self._forward(views, False)
        if not torch.equal(views, before):
            self._takes_copies = True
            return self._forward(before, False)
        return logits

    def call(self, views: Tensor, training: bool = False) -> Tensor:
        if not training:
            return self._forward(views, False)
        draws = self._draws.value
        draws[1] += 1
        devices = [views.device] if views.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(draws.sum()))
            logits = self._forward(views, True)
        self._take_over()
        return logits

    def _forward(self, views_bhwc: Tensor, training: bool) -> Tensor:
        (module,) = self._held
        if module.training != training:
            module.train(training)
        mixed = self.compute_dtype != self.variable_dtype
        views = views_bhwc.permute(0, 3, 1, 2)
        if self._takes_copies:
            views = views.clone(memory_format=torch.contiguous_format)
        with torch.autocast(views_bhwc.device.type, torch.bfloat16, enabled=mixed):
            return module(views)

    def _take_over(self) -> None:
        """Bring what the module assigned anew (`self.mean = ...`) into the buffer that is stored."""
        for place in self._places:
            if place.key not in place.held:  # `self.u = normalize(self.u, out=self.u)`: it is a parameter to PyTorch
                place.held[place.key] = place.owner._parameters.pop(place.key)
            new = place.held[place.key]
            if new is not place.tensor and new is not None and not place.tensor.requires_grad:
                place.tensor.data.copy_(new.detach())
                place.held[place.key] = place.tensor

    def untracked(self) -> list[str]:
        """Names of the module's state that is not, or no longer, a variable of this model."""
        (module,) = self._held
        known = {id(place.tensor) for place in self._places}
        held = module.state_dict(keep_vars=True).items()
        return [name for name, tensor in held if torch.is_tensor(tensor) and id(tensor) not in known]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TorchModel:
        # What is no state, a buffer that isn't stored for one, moves to the device as well.
        self._held[0]._apply(fn)
        super()._apply(fn, recurse)
        # PyTorch puts other tensors in the place of buffers that it moves.
        for place in self._places:
            place.held[place.key] = place.tensor
        return self

    def given(self) -> nn.Module:
        """The module itself, which was trained in place."""
        return self._held[0]

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return (input_shape[0], self._num_classes)


@dataclass(frozen=True, eq=False)
class Place:
    """A tensor that is a module's state, and where its owner holds it; no tuple, in which Keras would copy `held`."""

    name: str
    owner: nn.Module
    held: dict[str, Any]
    key: str
    tensor: Tensor


def _owned(module: nn.Module) -> Iterator[Place]:
    """The tensors that are a module's state; buffers become parameters, because Keras copies other tensors."""
    stored, owners = module.state_dict(keep_vars=True), dict(module.named_modules())
    for name, parameter in module.named_parameters():
        path, _, key = name.rpartition(".")
        yield Place(name, owners[path], owners[path]._parameters, key, parameter)
    for path, owner in owners.items():
        for key, buffer in list(owner.named_buffers(recurse=False)):
            full = f"{path}.{key}" if path else key
            if full in stored:
                owner.register_buffer(key, nn.Parameter(buffer, requires_grad=False))
                yield Place(full, owner, owner._buffers, key, getattr(owner, key))


def _variable(name: str, tensor: Tensor) -> keras.Variable:
    if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
        raise UserError(f"the torch module's {name!r} has no shape yet: call the module once before you return it")
    return named_variable(name.replace(".", "/"), tensor, trainable=tensor.requires_grad, autocast=False)
