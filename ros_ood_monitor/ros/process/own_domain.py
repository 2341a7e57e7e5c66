"""A ROS domain on which nobody else of this machine talks."""

from __future__ import annotations

import errno
import os
import random
import socket
from typing import Final

__all__ = ['free_domain', 'take_domain']

# 0 is everybody's default, and the ports of domains over 101 collide with ephemeral ones
_DOMAINS: Final = range(1, 102)

_held: list[socket.socket] = []  # until the process ends


def take_domain() -> int:
    """
    Take a ROS domain for this process and its children, on this machine only.

    It stands in the environment from then on, from which ROS reads it when it is initialised.

    Returns
    -------
    int
        The domain, as `free_domain` found it.

    """
    domain = free_domain()
    os.environ['ROS_DOMAIN_ID'] = str(domain)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    return domain


def free_domain() -> int:
    """
    Find a ROS domain that was given to no other process that lives, and keep it until the end.

    Of nodes that were given a domain by hand nothing is known.

    Returns
    -------
    int
        The domain, 1 to 101; any of them where all are taken.

    """
    domain = 0
    for domain in random.SystemRandom().sample(_DOMAINS, len(_DOMAINS)):
        # a name that no file stands for (man 7 unix): known in the same network only, as DDS is
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            mark.bind(f'\0ros_ood_monitor domain {domain}'.encode())
        except OSError as error:
            mark.close()
            if error.errno == errno.EADDRINUSE:
                continue
            return domain  # not on Linux: by chance alone
        _held.append(mark)
        return domain
    return domain
