"""The step with timm's BiT nets, as people use them: eager under autocast, or each bottleneck compiled."""

from __future__ import annotations

from functools import partial

import torch
from timm.layers import StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

from benchmarks.base import Arrays, Net, Step, Work
from benchmarks.torch import stepping


def net(wanted: Net, compiles: bool, device: torch.device) -> nn.Module:
    """A BiT of timm's, with its own initial weights."""
    # As `timm.create_model("resnetv2_50x1_bit")` builds it.
    conv = partial(StdConv2d, eps=1e-8)
    width = wanted.width / 64
    model = ResNetV2(
        list(wanted.stages), num_classes=wanted.classes, width_factor=width, stem_type="fixed", conv_layer=conv
    )
    if compiles:
        for stage in model.stages:
            for block in stage.blocks:
                block.compile(dynamic=False)
    return model.to(device, memory_format=torch.channels_last)


def make(work: Work, student: Arrays, teacher: Arrays, device: torch.device, compiles: bool = False) -> Step:
    """See `benchmarks.base.Make`; the nets are timm's, and so are their weights."""
    del student, teacher
    pupil, frozen = net(work.student, compiles, device), net(work.teacher, compiles, device)
    return stepping(work, pupil.train(), frozen.eval().requires_grad_(False), device)
