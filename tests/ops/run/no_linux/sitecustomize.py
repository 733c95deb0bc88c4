"""Takes what only Linux has out of Python's modules, before anything else is imported: macOS has what is left."""

import mmap
import os
import select
import signal
import socket

_LINUX = {
    os: "posix_fallocate posix_fadvise fdatasync sched_getaffinity sched_setaffinity waitid pidfd_open memfd_create "
    "getrandom copy_file_range splice eventfd O_DIRECT O_TMPFILE O_PATH O_NOATIME pipe2 getxattr setxattr",
    mmap: "MAP_POPULATE MAP_STACK",
    select: "epoll",
    signal: "sigwaitinfo sigtimedwait SIGPWR SIGSTKFLT SIGPOLL SIGRTMIN SIGRTMAX pidfd_send_signal",
    socket: "AF_NETLINK SO_PEERCRED TCP_USER_TIMEOUT TCP_QUICKACK SO_BINDTODEVICE SOCK_NONBLOCK SOCK_CLOEXEC",
}
for _module, _names in _LINUX.items():
    for _name in _names.split():
        if hasattr(_module, _name):
            delattr(_module, _name)
