"""The world of this process: found and joined once, as Keras's backend is."""

from __future__ import annotations

import os
import sys

from experiments.distributed import following
from experiments.distributed.channel import Star
from experiments.distributed.environment import place
from framework.errors import UserError
from framework.world import World

_joined: list[World] = []


def joined(patience: float = 600.0) -> World:
    """The processes that a launcher started together with this one, once all of them are there.

    Args:
        patience: seconds after which a process that gives no sign of life is lost; only the first call's counts.

    Raises:
        UserError: the environment makes no sense, or the others can't be reached.
    """
    if not _joined:
        found = place(os.environ)
        if found is None:
            return World()
        channel = Star(found, patience)
        _joined.append(
            World(
                found.rank,
                found.size,
                found.local_rank,
                local_size=found.local_size,
                channel=channel,
                host=channel.host,
                patience=patience,
            )
        )
    return _joined[0]


def channel() -> Star | None:
    """The channel of a world that was joined."""
    return _joined[0].channel if _joined and isinstance(_joined[0].channel, Star) else None


def leave() -> None:
    """Take leave of the others: this process has nothing more to do with them."""
    following.drop()
    if (others := channel()) is not None:
        others.close()


def end(code: int) -> None:
    """End this process at once where another is lost: some backends would wait at the end for all of them."""
    others = channel()
    if others is not None and others.is_lost:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def refuse(what: str) -> None:
    """Refuse a command that one process does.

    Args:
        what: the command or option, `"experiments.sweep"`.

    Raises:
        UserError: a launcher has started several processes of it.
    """
    found = place(os.environ)
    if found is not None:
        raise UserError(
            f"{what} is for one process, and {found.launcher} started {found.size}: start it once; only training, by "
            "experiments.run or experiments.teacher, is done in several"
        )
