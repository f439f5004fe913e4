"""Child processes that never outlive whoever started them.

Each child leads a process group of its own, so that Ctrl-C in the terminal reaches only this program, which
then ends the children in order; and the kernel ends them should this program be killed.
"""

import ctypes
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from settings import Failure

GRACE = 20.0
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Stopped(BaseException):
    """SIGTERM, SIGHUP or Ctrl-C: end what was started, then leave."""


def allow_files(number: int) -> None:
    """Raises the limit of open files to this at most, for this program and all that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        print("warning: the limit of open files stays as it is; fewer connections may be held", file=sys.stderr)


def on_signals_stop() -> None:
    """Makes SIGINT, SIGTERM and SIGHUP raise `Stopped` in the main thread."""

    def stop(number, _frame):
        # A second signal must not interrupt the tidying up.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    end_with_parent()


def end_with_parent() -> None:
    """Asks the kernel (Linux) for SIGTERM when the parent process ends."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Children:
    """The processes that were started, ended on leaving the `with` block.

    Those of one stage end together, the stages one after another, the latest first.
    """

    def __init__(self):
        self._started: list[tuple[str, subprocess.Popen]] = []
        self._stage: dict[int, int] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, name: str, argv: list, stage: int = 0, **options) -> subprocess.Popen:
        """Starts a child. `options` are those of `Popen`."""
        options.setdefault("stdin", subprocess.DEVNULL)
        with self._lock:
            if self._closed:
                raise Failure("stopping")
            child = subprocess.Popen(
                [str(part) for part in argv],
                start_new_session=True,
                preexec_fn=end_with_parent,
                **options,
            )
            self._started.append((name, child))
            self._stage[child.pid] = stage
        return child

    def ended(self) -> tuple[str, int] | None:
        """The first child that is no longer running, and its exit code."""
        for name, child in self._started:
            code = child.poll()
            if code is not None:
                return name, code
        return None

    def forget(self, child: subprocess.Popen) -> None:
        """No longer watches a child that was meant to end."""
        with self._lock:
            self._started = [pair for pair in self._started if pair[1] is not child]

    def stop(self) -> None:
        """Ends all of them: SIGTERM to each group, SIGKILL to what is left after the grace period."""
        with self._lock:
            self._closed = True
            started, self._started = self._started, []
        for stage in sorted(set(self._stage.values()), reverse=True):
            children = [child for _, child in started if self._stage[child.pid] == stage]
            for child in children:
                _signal(child, signal.SIGTERM)
            deadline = time.monotonic() + GRACE
            for child in children:
                try:
                    child.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    pass
                # Also what the child left behind in its group.
                _signal(child, signal.SIGKILL)
                child.wait()


def _signal(child: subprocess.Popen, number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        pass


def how_ended(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_free(port: int, name: str, host: str = "0.0.0.0") -> None:
    """Refuses, naming the setting, where something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Failure(
                    f"port {port} is in use; stop what listens there, or choose another with {name}, "
                    f"for example: make run {name}={port + 10}"
                ) from None
            raise Failure(f"{name}: can't listen on port {port}: {error.strerror}") from None


def until(what: str, ready, child: subprocess.Popen | None, log: Path | None, seconds: float) -> None:
    """Waits for `ready()`; fails at once where the child ends, showing the end of its log."""
    deadline = time.monotonic() + seconds
    while not ready():
        if child is not None and child.poll() is not None:
            raise Failure(f"{what} {how_ended(child.returncode)}{tail(log)}")
        if time.monotonic() > deadline:
            raise Failure(f"{what} does not answer after {seconds:.0f} s{tail(log)}")
        time.sleep(0.05)


def tail(log: Path | None, lines: int = 15) -> str:
    """The last lines of a log, for the end of a message."""
    if log is None or not log.exists():
        return ""
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return "; the end of its log:\n  " + "\n  ".join(last) if last else ""
