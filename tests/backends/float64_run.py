"""Run by `test_trainer.py` in a process of its own: a float64 trainer says what it computes."""

from __future__ import annotations

import json
import sys

import numpy as np

import backends
from tests.backends.tiny import Tiny


def main(name: str) -> None:
    engine = backends.load(name)
    tiny = Tiny(engine, engine.configure("cpu", None, "float64"))
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
    arrays = [*found.values(), *(a for n, a in middle.items() if n != "step")]
    print(
        json.dumps(
            {
                "dtypes": sorted({array.dtype.name for array in arrays}),
                "norm": float(norm),
                "slope": (losses[1] - losses[0]) / 2e-5,
                "resumed": resumed,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
