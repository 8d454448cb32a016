"""How the C library's allocator treats the large blocks of feature maps."""

from __future__ import annotations

import ctypes
import sys

# glibc's names for parameters of mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Make the process keep large freed blocks for its next frame instead of handing them back to the system.

    By default glibc maps every block above 32 MiB anew, and the kernel clears it page by page, for each frame again:
    with Swin-T at 854x480 that is a tenth of the time. The largest memory of the process stays as it is. Returns
    whether the allocator took it; elsewhere than on Linux with glibc nothing happens.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 2**30)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
