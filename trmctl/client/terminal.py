"""Connects this terminal with a command in a container."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trmkit.errors import ClusterUnreachableError

STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)


def connect(socket: Any, tty: bool) -> int:
    """Copy between this terminal and the channels of a command (`WSClient`) until it ends; return its exit code.

    ClusterUnreachableError: the connection was lost before it ended.
    """
    with _raw(tty):
        if tty:
            columns, lines = os.get_terminal_size()
            socket.write_channel(RESIZE, f'{{"Width": {columns}, "Height": {lines}}}'.encode())
        listening = True
        while socket.is_open():
            if listening:
                listening = _forward(socket)
            socket.update(timeout=0.05 if listening else 1)
            _print(socket)
        _print(socket)
    if not socket.peek_channel(STATUS):
        raise ClusterUnreachableError("the connection to the container was lost", next="run the command again")
    code: int = socket.returncode
    return code


def _print(socket: Any) -> None:
    for channel, stream in ((STDOUT, sys.stdout), (STDERR, sys.stderr)):
        while socket.peek_channel(channel):
            stream.buffer.write(_bytes(socket.read_channel(channel)))
            stream.flush()


def _forward(socket: Any) -> bool:
    """Send what was typed; False: there is nothing more to come."""
    try:
        waiting = select.select([sys.stdin], [], [], 0)[0]
    except (OSError, ValueError):  # there is no standard input
        return False
    if not waiting:
        return True
    typed = os.read(sys.stdin.fileno(), 4096)
    if typed:
        socket.write_channel(STDIN, typed)
    return bool(typed)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


@contextmanager
def _raw(tty: bool) -> Iterator[None]:
    """Hand every key to the command, Ctrl-C too, and put the terminal back as it was."""
    if not tty:
        yield
        return
    import termios
    import tty as terminals

    before = termios.tcgetattr(sys.stdin)
    terminals.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
