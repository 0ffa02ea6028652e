"""JAX's coordination service, in a process of its own that lives a little longer than the first process of a world.

JAX aborts each process that loses the service, before it can say why it ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from jaxlib import _jax

# Seconds that the others have for their own ends once the first process has ended: longer than they take.
_AFTERWARDS = 30.0
_kept: list[subprocess.Popen[bytes]] = []


@contextmanager
def coordinator(address: str, processes: int, patience: int) -> Iterator[None]:
    """The service at `host:port`, as long as this process lives; `jax.distributed.initialize` then starts none in it.

    Args:
        address: where it listens.
        processes: how many it serves, this one among them.
        patience: seconds without a sign of life after which a process is lost.
    """
    command = [sys.executable, __file__, address.rpartition(":")[2], str(processes), str(patience)]
    nothing = subprocess.DEVNULL
    # It reads until this process has ended, however that comes about.
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, start_new_session=True)
    _kept.append(child)
    with patch.object(_jax, "get_distributed_runtime_service", lambda *args, **keywords: None):
        yield


def _serve(port: str, processes: str, patience: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    service = _jax.get_distributed_runtime_service(f"[::]:{port}", int(processes), heartbeat_timeout=int(patience))
    sys.stdin.buffer.read()
    time.sleep(_AFTERWARDS)
    service.shutdown()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
