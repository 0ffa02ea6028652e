"""Our models as a list of plain operations with their numbers: what is written in the form of another library.

Evaluation only: kernels that are standardised each time they are used are given as they are convolved with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Any

import keras
import numpy as np

from framework import kernels
from framework.errors import UserError
from framework.models import bit, convnet, efficientnet_lite, inverted_residual, layers, mobilenet_v3
from framework.models.operations import (
    VIEWS,
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    GroupNorm,
    MaxPool,
    Mean,
    Operation,
    Step,
    Weight,
)

Array = np.ndarray


def plain(model: keras.Model, image_size: int) -> tuple[Step, ...]:
    """Rewrite a model; the last step gives its logits.

    Args:
        model: one of ours, filled.
        image_size: side of its square views, in pixels.

    Raises:
        UserError: it is none of ours, or has a layer that this doesn't know.
    """
    writer = _Writer(image_size)
    writer.write(model, VIEWS, "")
    return tuple(writer.steps)


@dataclass
class _Writer:
    """Follows a model's `call` and writes down what it does.

    Attributes:
        side: of the maps, in pixels, where the next layer is.
        steps: those so far.
    """

    side: int
    steps: list[Step] = field(default_factory=list)

    def step(self, name: str, does: Operation, *inputs: str) -> str:
        names = {step.name for step in self.steps}
        unique = next(each for each in (name, *(f"{name}_{count}" for count in range(2, 10_000))) if each not in names)
        self.steps.append(Step(unique, does, inputs))
        return unique

    def activation(self, kind: str, source: str) -> str:
        return self.step(f"{source}/{kind}", Activation(kind), source)

    @singledispatchmethod
    def write(self, layer: Any, source: str, path: str) -> str:
        """Write a layer down that takes the result of `source`; returns the name of its own result."""
        kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
        raise UserError(f"a model with the layer {kind} can't be rewritten: only the project's own can")

    def below(self, layer: Any, source: str, path: str) -> str:
        return str(self.write(layer, source, f"{path}{layer.name}/"))

    @write.register
    def _(self, layer: layers.Conv2D, source: str, path: str) -> str:
        kernel = _numbers(layer.effective_kernel())
        groups = 1
        if isinstance(layer, layers.DepthwiseConv2D):
            # Each channel by itself is a convolution of as many groups as channels.
            groups = kernel.shape[-1]
        pads = kernels.pairs(layer._pads((None, self.side, self.side, None)))
        self.side = (self.side + sum(pads[0]) - layer.size) // layer.stride + 1
        return self.step(path[:-1], Conv(kernel, layer.stride, pads, groups), source)

    @write.register
    def _(self, layer: layers.GroupNorm, source: str, path: str) -> str:
        numbers = _numbers(layer.scale).reshape(-1), _numbers(layer.bias).reshape(-1)
        return self.step(path[:-1], GroupNorm(*numbers, layer.groups, layer.epsilon), source)

    @write.register
    def _(self, layer: layers.BatchNorm, source: str, path: str) -> str:
        variables = (layer.scale, layer.bias, layer.moving_mean, layer.moving_variance)
        scale, bias, mean, variance = (_numbers(variable).reshape(-1) for variable in variables)
        return self.step(path[:-1], BatchNorm(scale, bias, mean, variance, layer.epsilon), source)

    @write.register
    def _(self, layer: layers.Dense, source: str, path: str) -> str:
        return self.step(path[:-1], Dense(_numbers(layer.kernel), _numbers(layer.bias)), source)

    @write.register
    def _(self, stage: convnet.ConvStage, source: str, path: str) -> str:
        for conv, norm in zip(stage.convs, stage.norms, strict=True):
            source = self.activation("relu", self.below(norm, self.below(conv, source, path), path))
        return source

    @write.register
    def _(self, model: convnet.ConvNet, source: str, path: str) -> str:
        for stage in model.stages:
            source = self.below(stage, source, path)
        return self._classified(model.head, source, path)

    @write.register
    def _(self, root: bit.BitRoot, source: str, path: str) -> str:
        source = self.below(root.conv_root, source, path)
        self.side = (self.side + 2 - 3) // 2 + 1
        pool = MaxPool(3, 2, kernels.pairs(1), bit.ROOT_PADDING[root.padding])
        return self.step(f"{path}pool", pool, source)

    @write.register
    def _(self, unit: bit.BitUnit, source: str, path: str) -> str:
        y = self.activation("relu", self.below(unit.gn1, source, path))
        side, shortcut = self.side, source
        if unit.conv_proj is not None:
            shortcut, self.side = self.below(unit.conv_proj, y, path), side
        y = self.activation("relu", self.below(unit.gn2, self.below(unit.conv1, y, path), path))
        y = self.activation("relu", self.below(unit.gn3, self.below(unit.conv2, y, path), path))
        return self.step(f"{path}add", Add(), self.below(unit.conv3, y, path), shortcut)

    @write.register
    def _(self, block: bit.BitBlock, source: str, path: str) -> str:
        for unit in block.units:
            source = self.below(unit, source, path)
        return source

    @write.register
    def _(self, model: bit.Bit, source: str, path: str) -> str:
        for layer in (model.root_block, *model.blocks, model.norm_pre_head):
            source = self.below(layer, source, path)
        return self._classified(model.head, self.activation("relu", source), path)

    @write.register
    def _(self, layer: inverted_residual.SqueezeExcite, source: str, path: str) -> str:
        y = self.step(f"{path}mean", Mean(), source)
        y = self.activation("relu", self.below(layer.reduce, y, path))
        y = self.activation("hard_sigmoid", self.below(layer.expand, y, path))
        return self.step(f"{path}weight", Weight(), source, y)

    @write.register
    def _(self, block: inverted_residual.InvertedResidual, source: str, path: str) -> str:
        kind = _KINDS[block.get_config()["activation"]]
        y = source
        if block.expand is not None:
            y = self.activation(kind, self.below(block.expand_norm, self.below(block.expand, y, path), path))
        y = self.activation(kind, self.below(block.depthwise_norm, self.below(block.depthwise, y, path), path))
        if block.squeeze_excite is not None:
            y = self.below(block.squeeze_excite, y, path)
        y = self.below(block.project_norm, self.below(block.project, y, path), path)
        return self.step(f"{path}add", Add(), source, y) if block.adds else y

    @write.register
    def _(self, model: mobilenet_v3.MobileNetV3, source: str, path: str) -> str:
        x = self.below(model.conv_norm, self.below(model.conv, source, path), path)
        x = self.activation("hard_silu", x)
        for block in model.blocks:
            x = self.below(block, x, path)
        x = self.activation("hard_silu", self.below(model.conv_1_norm, self.below(model.conv_1, x, path), path))
        x = self.below(model.conv_2, self.step("mean", Mean(), x), path)
        return self.below(model.head, self.activation("hard_silu", x), path)

    @write.register
    def _(self, model: efficientnet_lite.EfficientNetLite, source: str, path: str) -> str:
        x = self.activation("relu6", self.below(model.stem_norm, self.below(model.stem, source, path), path))
        for block in model.blocks:
            x = self.below(block, x, path)
        x = self.activation("relu6", self.below(model.top_norm, self.below(model.top, x, path), path))
        return self._classified(model.head, x, path)

    def _classified(self, head: layers.Dense, source: str, path: str) -> str:
        return self.below(head, self.step("mean", Mean(), source), path)


# What `inverted_residual.ACTIVATIONS` calls them.
_KINDS = {"relu": "relu", "relu6": "relu6", "hard_swish": "hard_silu"}


def _numbers(tensor: Any) -> Array:
    return np.array(keras.ops.convert_to_numpy(tensor), np.float32)
