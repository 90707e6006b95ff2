"""What torchrun says to its processes, and what they say to it.

Torchrun names one process at the end as the root cause, with the words that the process has left in
a file: the earliest failure that it knows of.
"""

from __future__ import annotations

import json
import os
import time

LOST = (
    "lost the connection to another process of this command: it has ended early, or its machine is "
    "gone; its own messages say why"
)
OUTLIVED_S = 5.0
"""Seconds that a process waits which has lost another one, once it has said so.

Torchrun then finds the dead process first, ends this one, and names the right root cause. Processes
on other machines than the dead one end by themselves.
"""
LATER_S = 2.0
"""Seconds that the others wait before they report an error of their own.

Most errors are the same in all processes: the first one has reported it by then, and torchrun has
ended the others.
"""


def num_processes() -> int:
    """How many processes torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def process_rank() -> int:
    """The number of this process."""
    return int(os.environ.get("RANK", 0))


def is_first_on_machine() -> bool:
    """Whether this process speaks for those of its machine."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0


def has_lost_another(error: BaseException) -> bool:
    """Whether an error is from a connection to another process that has broken."""
    if num_processes() == 1:
        return False
    import torch.distributed as dist

    # Gloo has no error class of its own; its messages begin with the place in its source.
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    )


def record_failure(words: str) -> None:
    """Leave the reason why this process ends where torchrun looks for it; nothing without it."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        # The format of torch.distributed.elastic, without a traceback: the words are the message.
        failure = {"message": words, "extraInfo": {"timestamp": str(int(time.time()))}}
        with open(file, "w") as opened:
            json.dump({"message": failure}, opened)
