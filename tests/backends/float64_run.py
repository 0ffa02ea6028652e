"""Run by `test_trainer.py` in a process of its own: a float64 trainer says what it computes."""

from __future__ import annotations

import json
import sys

import numpy as np

import backends
from backends.base import Settings
from tests.backends.tiny import Tiny


def main(name: str) -> None:
    engine = backends.load(name)
    tiny = Tiny(engine, engine.configure(Settings("cpu", precision="float64")))
    spec = tiny.spec(precision="float64")
    one, other = (tiny.trainer(spec, seed=seed) for seed in (0, 3))
    batch, state = tiny.batch(spec, 0), one.state()
    found = one.probe(batch)
    norm = np.sqrt(sum(np.square(a).sum() for n, a in found.items() if n.startswith("gradient/")))
    losses = []
    for sign in (-1, 1):
        step = {n: sign * 1e-5 / norm * found[n.replace("student/", "gradient/")] for n in state if "student/" in n}
        one.restore({n: array + step.get(n, 0) for n, array in state.items()})
        losses.append(float(one.probe(batch)["loss"]))
    one.restore(state)
    tiny.run(one, spec, 3)
    middle = one.state()
    other.restore(middle)
    resumed = tiny.run(one, spec, 3) == tiny.run(other, spec, 3)
    accumulated = apart(tiny, "funmatch"), apart(tiny, "independent")
    arrays = [*found.values(), *(a for n, a in middle.items() if n != "step")]
    print(
        json.dumps(
            {
                "dtypes": sorted({array.dtype.name for array in arrays}),
                "norm": float(norm),
                "slope": (losses[1] - losses[0]) / 2e-5,
                "resumed": resumed,
                "accumulated": max(accumulated),
            }
        )
    )


def apart(tiny: Tiny, teaching: str) -> float:
    """How far three steps of four parts each are from those of the whole batch, relative to each array's largest."""
    spec = tiny.spec(precision="float64", teaching=teaching, loss={"task_weight": 0.5})
    whole, parts = (tiny.trainer(spec, grad_accum_steps=number) for number in (1, 4))
    batch = tiny.batch(spec, 0)
    pairs = list(zip(whole.probe(batch).values(), parts.probe(batch).values(), strict=True))
    losses = [np.array(tiny.run(trainer, spec, 3)) for trainer in (whole, parts)]
    pairs += [(losses[0], losses[1]), *zip(whole.state().values(), parts.state().values(), strict=True)]
    return float(max(np.abs(one - other).max() / max(np.abs(one).max(), 1e-300) for one, other in pairs))


if __name__ == "__main__":
    main(*sys.argv[1:])
