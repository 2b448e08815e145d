"""The only home of ctypes: system calls, mount API, netlink sockets, as thin functions that raise OSError."""
