"""PyTorch's own files of weights: a state dict, one within a checkpoint, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import backends
from backends.torch.modules import TorchModel
from backends.torch.states import read_weights
from experiments.distillation import weights
from framework.errors import UserError
from framework.models.initial import parameters

SIZE = 8


def net() -> nn.Module:
    features = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(4 * (SIZE - 2) ** 2, 5))


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": {f"module.{name}": each for name, each in state.items()}},
        lambda state: {
            name: each.to(torch.bfloat16) if each.is_floating_point() else each for name, each in state.items()
        },
    ],
)
def test_a_state_dict_fills_a_module(tmp_path: Path, wrapped: Any) -> None:
    backends.load("torch")
    source, model = net(), TorchModel(net(), SIZE, 0)
    torch.save(wrapped(source.state_dict()), tmp_path / "a.pt")
    draws = parameters(model)["draws"].value.clone()
    weights.fill(model, tmp_path / "a.pt", None)
    (module,) = model._held
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, source.state_dict()[name], rtol=1e-2, atol=1e-3)
    assert torch.equal(parameters(model)["draws"].value, draws)


def test_a_whole_module_is_not_unpickled(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"holds objects, which are not loaded: save .*model\.state_dict"):
        read_weights(tmp_path / "a.pt")


def test_what_holds_no_state_dict_is_told(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "best": 0.5}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="there is no state dict in it, but 'epoch', 'best'"):
        read_weights(tmp_path / "a.pt")
    torch.save(net().state_dict(), tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes((tmp_path / "b.pt").read_bytes()[:200])
    with pytest.raises(UserError, match=r"c\.pt' can't be read by PyTorch"):
        read_weights(tmp_path / "c.pt")


def test_names_and_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    backends.load("torch")
    torch.save({**net().state_dict(), "extra": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"1 unexpected, e\.g\. extra"):
        weights.fill(TorchModel(net(), SIZE, 0), tmp_path / "a.pt", None)
    assert np.isfinite(read_weights(tmp_path / "a.pt")["0.weight"]).all()
