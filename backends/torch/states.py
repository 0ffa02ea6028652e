"""State dicts that PyTorch has saved, as arrays by name. Nothing in a file is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framework.errors import UserError

# Where people keep the state dict in a checkpoint of theirs.
_NESTED = ("state_dict", "model_state_dict", "model", "model_state", "net", "params", "module", "student")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """See `framework.models.weights.install_reader`.

    Raises:
        UserError: it holds more than tensors, or no state dict, or is damaged.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by what is in the file
        if "weights_only" in str(error):
            raise UserError(
                f"weights {str(path)!r} holds objects, which are not loaded: save the tensors alone, "
                "torch.save(model.state_dict(), PATH)"
            ) from error
        raise UserError(f"weights {str(path)!r} can't be read by PyTorch: {error}") from error
    found = _state_dict(held)
    if not found:
        keys = ", ".join(map(repr, held)) if isinstance(held, Mapping) else type(held).__name__
        raise UserError(f"weights {str(path)!r}: there is no state dict in it, but {keys}")
    return {name: _array(tensor) for name, tensor in found.items()}


def _state_dict(held: Any) -> dict[str, torch.Tensor]:
    if not isinstance(held, Mapping):
        return {}
    tensors = {str(name): each for name, each in held.items() if torch.is_tensor(each)}
    if tensors:
        return tensors
    return next((found for key in _NESTED if key in held and (found := _state_dict(held[key]))), {})


def _array(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.to(torch.float32) if tensor.dtype.is_floating_point else tensor).numpy().copy()
