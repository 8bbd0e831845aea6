"""Ports for servers that a test starts."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below the ports that systems give to outgoing connections, of which tests beside make many.
OWN = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, nor is given before a server starts."""
    found: list[int] = []
    with ExitStack() as sockets:
        for port in random.SystemRandom().sample(OWN, len(OWN)):
            if len(found) == count:
                break
            try:
                sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found
