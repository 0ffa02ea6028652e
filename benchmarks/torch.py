"""The step in PyTorch alone: `nn.Module`s on channels-last memory, `F.group_norm`, fused AdamW."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.base import BIT_GROUPS, Arrays, Net, Step, Work, groups_of


class StdConv(nn.Conv2d):
    """A convolution whose kernel is standardised."""

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W]."""
        return functional.conv2d(x, standardised(self.weight), None, self.stride, self.padding)


def standardised(kernel_oihw: Tensor) -> Tensor:
    """Each output channel's kernel with mean 0 and variance 1."""
    variance, mean = torch.var_mean(kernel_oihw, (1, 2, 3), correction=0, keepdim=True)
    return (kernel_oihw - mean) * torch.rsqrt(variance + 1e-10)


class Unit(nn.Module):
    """BiT's pre-activation bottleneck."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.gn1, self.conv1 = nn.GroupNorm(BIT_GROUPS, inputs), StdConv(inputs, width, 1, bias=False)
        self.gn2, self.conv2 = nn.GroupNorm(BIT_GROUPS, width), StdConv(width, width, 3, stride, 1, bias=False)
        self.gn3, self.conv3 = nn.GroupNorm(BIT_GROUPS, width), StdConv(width, 4 * width, 1, bias=False)
        projects = stride != 1 or inputs != 4 * width
        self.conv_proj = StdConv(inputs, 4 * width, 1, stride, bias=False) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W]."""
        y = functional.relu(self.gn1(x))
        shortcut = x if self.conv_proj is None else self.conv_proj(y)
        y = functional.relu(self.gn2(self.conv1(y)))
        return self.conv3(functional.relu(self.gn3(self.conv2(y)))) + shortcut


def bit(net: Net) -> nn.Sequential:
    """A BiT ResNetV2."""
    root = nn.Sequential(OrderedDict(conv_root=StdConv(3, net.width, 7, 2, 3, bias=False), pool=nn.MaxPool2d(3, 2, 1)))
    layers: OrderedDict[str, nn.Module] = OrderedDict(root_block=root)
    channels = net.width
    for stage, units in enumerate(net.stages):
        width, block = net.width * 2**stage, OrderedDict[str, nn.Module]()
        for number in range(units):
            block[f"unit{number + 1:02d}"] = Unit(channels, width, 2 if stage and not number else 1)
            channels = 4 * width
        layers[f"block{stage + 1}"] = nn.Sequential(block)
    layers["norm-pre-head"], layers["relu"] = nn.GroupNorm(BIT_GROUPS, channels), nn.ReLU()
    layers["pool"], layers["flat"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    layers["head"] = nn.Linear(channels, net.classes)
    return nn.Sequential(layers)


def convnet(net: Net) -> nn.Sequential:
    """3x3 convolutions, each normalised and rectified."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for stage, width in enumerate(net.stages):
        conv = nn.Conv2d(channels, width, 3, 2 if stage else 1, 1, bias=False)
        norm = nn.GroupNorm(groups_of(width), width)
        layers[f"stage{stage + 1}"] = nn.Sequential(OrderedDict(conv1=conv, norm1=norm, relu=nn.ReLU()))
        channels = width
    layers["pool"], layers["flat"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    layers["head"] = nn.Linear(channels, net.classes)
    return nn.Sequential(layers)


NETS = {"bit": bit, "convnet": convnet}


def filled(net: Net, arrays: Arrays, device: torch.device) -> nn.Module:
    """The net with its weights, on channels-last memory."""
    state = {}
    for name, array in arrays.items():
        path, _, role = name.replace("/", ".").rpartition(".")
        tensor = torch.tensor(array.reshape(-1) if role == "scale" else array)
        if role == "kernel":
            tensor = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T
        is_norm_bias = role == "bias" and tensor.ndim == 4
        state[f"{path}.{'bias' if role == 'bias' else 'weight'}"] = tensor.reshape(-1) if is_norm_bias else tensor
    model = NETS[net.kind](net)
    model.load_state_dict(state)
    return model.to(device, memory_format=torch.channels_last)


def freeze(teacher: nn.Module) -> nn.Module:
    """Without gradients, and its kernels standardised once."""
    for module in teacher.modules():
        if isinstance(module, StdConv):
            module.weight.data = standardised(module.weight.data).contiguous(memory_format=torch.channels_last)
            module.__class__ = nn.Conv2d
    return teacher.eval().requires_grad_(False)


def interpolation(start: Tensor, length: Tensor, flips: Tensor, extent: int, size: int) -> Tensor:
    """Weights [B, S, extent] of bilinear sampling inside a window, mirrored where `flips` is 1."""
    places = torch.arange(size, device=start.device)[None]
    places = torch.where(flips[:, None] > 0, size - 1 - places, places)
    inside = ((places + 0.5) * (length[:, None] / size) - 0.5).clamp_min(0).minimum(length[:, None] - 1)
    centres = start[:, None] + inside
    return (1 - (centres[..., None] - torch.arange(extent, device=start.device)).abs()).clamp_min(0)


def crop(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Views [B, S, S, 3] in [-1, 1] of uint8 images [B, H, W, 3]."""
    batch, height, width, _ = images.shape
    rows = interpolation(boxes[:, 0], boxes[:, 2], torch.zeros_like(flips), height, size)
    columns = interpolation(boxes[:, 1], boxes[:, 3], flips, width, size)
    tall = (rows @ images.float().reshape(batch, height, -1)).reshape(batch, size, width, 3).transpose(1, 2)
    wide = columns @ tall.reshape(batch, width, -1)
    return wide.reshape(batch, size, size, 3).transpose(1, 2) * (2 / 255) - 1


def make(work: Work, student: Arrays, teacher: Arrays, device: torch.device) -> Step:
    """See `benchmarks.base.Make`."""
    return stepping(work, filled(work.student, student, device), freeze(filled(work.teacher, teacher, device)), device)


def stepping(work: Work, pupil: nn.Module, frozen: nn.Module, device: torch.device) -> Step:
    """The step of two nets."""
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=work.mixed)
    params = list(pupil.parameters())
    kernels = [param for param in params if param.ndim > 1]
    others = [param for param in params if param.ndim == 1]
    # The authors' decay isn't multiplied by lr.
    groups = [
        {"params": kernels, "weight_decay": work.weight_decay / work.lr},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=work.lr, betas=(work.b1, work.b2), eps=work.epsilon, fused=True)
    done = 0

    def views_of(inputs: Arrays) -> Tensor:
        given = {name: torch.as_tensor(array).to(device, non_blocking=True) for name, array in inputs.items()}
        if "views" not in given:
            given["views"] = crop(given["images"], given["boxes"], given["flips"], work.size)
        views = given["views"]
        views = views * (2 / 255) - 1 if views.dtype == torch.uint8 else views
        mixed = torch.lerp(views.roll(1, 0), views, given["mix"])
        return mixed.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def step(inputs: Arrays) -> Tensor:
        nonlocal done
        with torch.no_grad():
            views = views_of(inputs)
            with mixed:
                taught = frozen(views)
            target = functional.log_softmax(taught.float() / work.temperature, 1)
        with mixed:
            learnt = pupil(views)
        logits = functional.log_softmax(learnt.float() / work.temperature, 1)
        loss = functional.kl_div(logits, target, reduction="batchmean", log_target=True) * work.temperature**2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, work.clip_norm, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = work.lr * work.factor(done)
        optimizer.step()
        done += 1
        return loss.detach()

    return step


def device(name: str | None, threads: int) -> torch.device:
    """The device of a process that does nothing else; `name` as torch knows it."""
    torch.set_num_threads(threads)
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
