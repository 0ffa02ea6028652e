"""One claimed run, in a process of its own: `python -m experiments.worker.attempt UID`, as a worker starts it."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command.config_files import for_another_run
from experiments.command.exit import guarded
from experiments.command.launch import Stored
from experiments.distillation import early
from experiments.distillation.lineage import has_checkpoint
from experiments.tracking import claims
from experiments.tracking.claims import Claim
from experiments.tracking.folders import default_root
from experiments.tracking.mongod import open_database
from framework.errors import UserError

NAME = "experiments.worker"


def begin(claim: Claim, uri: str | None, root: Path) -> int:
    """Do what is claimed; returns the exit code.

    Raises:
        UserError: it can't be done here.
    """
    early.add_working_folder()
    queue = claim.document["queue"]
    if "points" in queue:
        from experiments.sweep import queued

        return queued.attempt(claim, uri, root)
    program = importlib.import_module(queue["module"]).PROGRAM
    config = for_another_run(claim.document["config"])
    stored = Stored(claim.uid, queue["module"], config, root, shlex.split(queue["line"]), uri)
    meta = dict(claim.document["meta"])
    options = dict(meta.pop("options"))
    before = next(filter(has_checkpoint, claim.earlier), None)
    return int(program.attempt(stored, options, meta, claim.folder, before))


def run(uid: str, uri: str | None) -> int:
    """Find what an attempt has claimed, and do it; returns the exit code."""
    root = default_root()
    with open_database(uri, False, root, required=True) as destination:
        assert destination.database is not None
        claim = claims.of(destination.database, uid)
        if claim is None:
            raise UserError(f"{uid} has claimed no run, or has lost it")
        # This is the server's client until the end, and the run another one.
        return begin(claim, uri, root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("uid")
    parser.add_argument("-m", "--mongo_db", metavar="ADDRESS")
    found = parser.parse_args(arguments)
    return guarded(NAME, lambda: run(found.uid, found.mongo_db))


if __name__ == "__main__":
    sys.exit(main())
