"""What a server has that must not grow: memory, descriptors, disk.

SPDX-License-Identifier: MIT
"""

import collections
import os
import pathlib
import re


def memory_of(opq):
    """Resident memory, in bytes."""
    text = pathlib.Path(f'/proc/{opq.pid}/status').read_text()
    return int(re.search(r'VmRSS:\s+(\d+)', text).group(1)) << 10


def files_of(opq):
    """What its descriptors are."""
    found = []
    for path in pathlib.Path(f'/proc/{opq.pid}/fd').iterdir():
        try:
            found.append(os.readlink(path))
        except FileNotFoundError:
            pass  # closed meanwhile
    return sorted(found)


def kinds_of_files(opq):
    """How many descriptors there are of a kind."""
    return collections.Counter(re.sub(r'[0-9]+', '', name)
                               for name in files_of(opq))


def disk_of(folder):
    """Bytes that a folder takes on disk."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                pass  # removed meanwhile
    return size
