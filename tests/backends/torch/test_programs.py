"""Our models as programs of PyTorch's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backends.torch.programs import write
from framework.models.plain import plain
from tests.framework.models.shaped import SHAPES, random_model


@pytest.mark.parametrize(("name", "options", "size"), SHAPES)
def test_a_program_gives_the_models_logits(name: str, options: dict[str, Any], size: int, tmp_path: Path) -> None:
    model = random_model(name, options, size)
    program, weights = write(model, plain(model, size), size, tmp_path / "a.pt2")
    loaded = torch.export.load(program).module()
    state = torch.load(weights, weights_only=True)
    assert not any("/" in key or key.startswith("p_") for key in state)
    for tensor in loaded.state_dict().values():
        tensor.zero_()
    loaded.load_state_dict(state)
    views = np.random.default_rng(1).uniform(-1, 1, (3, size, size, 3)).astype(np.float32)
    found = loaded(torch.from_numpy(views).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(found, model.predict_on_batch(views), atol=2e-5)
    assert "head.weight" in state
