"""One backend in a process of its own: `worker.py BACKEND KIND FOLDER` writes a file for each case or mutation."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

import backends
from backends.base import Settings
from experiments.parity.measure import Examples, measure
from tests.parity import cases


def main(backend_name: str, kind: str, folder: Path) -> None:
    precision, names = cases.KINDS[kind]
    backend = backends.load(backend_name)
    if kind == "leak":
        from backends import precision as policy

        policy.keep_float64 = lambda: None
    device = backend.configure(Settings("cpu", precision=precision))
    silent = dataclasses.replace(cases.examples(), evaluated=tuple(array[:0] for array in cases.examples().evaluated))

    def run(case: str, examples: Examples, steps: int, probes: int, file: str) -> None:
        result = measure(backend, device, cases.spec_of(case, precision), examples, steps, probes)
        np.savez(folder / f"{file}.npz", **result)

    if kind.startswith("resumed "):
        from tests.parity.resumed import resumed

        for other in backends.BACKENDS:
            before = dict(np.load(folder.with_name(f"parity-{other}-{precision}") / "funmatch.npz"))
            control = (other, precision) == (backend_name, "float32")
            np.savez(folder / f"{other}.npz", **resumed(backend, device, precision, before, control))
        return
    if kind not in ("mutations", "leak"):
        for case in names:
            examples = cases.examples() if case in cases.EVALUATED else silent
            run(case, examples, cases.STEPS[case], cases.PROBES[case], case)
        return
    from tests.parity.mutations import MUTATIONS, kerass_mean, nothing

    assert sorted(MUTATIONS) == sorted(cases.MUTATIONS)
    harmless = {"none": nothing, "kerass_mean": kerass_mean}
    for name, mutation in (harmless if kind == "leak" else harmless | MUTATIONS).items():
        with pytest.MonkeyPatch.context() as patch:
            mutation(patch)
            run("funmatch", silent, cases.MUTATION_STEPS, cases.MUTATION_STEPS, name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
