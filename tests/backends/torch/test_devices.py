"""What the process is told about precision."""

from __future__ import annotations

from typing import Any

import torch

from backends.base import Settings


def test_tensorfloat32_is_off_unless_asked_for(engine: Any) -> None:
    engine.configure(Settings("cpu"))
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
    try:
        engine.configure(Settings("cpu", tf32=True))
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, True)
    finally:
        engine.configure(Settings("cpu"))
