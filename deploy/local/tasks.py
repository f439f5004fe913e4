"""Slow preparations side by side, with one line that tells what they are doing."""

import re
import subprocess
import sys
import threading
import time

from processes import Children, how_ended
from settings import Failure

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Task:
    """One preparation; what it says last is shown."""

    def __init__(self, name: str, work, children: Children):
        self.name = name
        self.says = ""
        self.children = children
        self.result = None
        self.failure: BaseException | None = None
        self._work = work
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self.result = self._work(self)
        except BaseException as failure:  # handed to the main thread, which raises it
            self.failure = failure

    def command(self, argv: list, hint: str = "", **options) -> str:
        """Runs a command, showing its last line while it works; its whole output where it fails."""
        try:
            child = self.children.start(
                self.name,
                argv,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                **options,
            )
        except FileNotFoundError:
            raise Failure(f"{argv[0]}: not found. {hint}".strip()) from None
        output = []
        for line in child.stdout:
            output.append(line)
            if line.strip():
                self.says = ANSI.sub("", line).strip()
        code = child.wait()
        self.children.forget(child)
        if code != 0:
            shown = " ".join(str(part) for part in argv)
            raise Failure(f"{shown} {how_ended(code)}:\n{''.join(output)}{hint}")
        self.says = ""
        return "".join(output)


def run(children: Children, **works) -> dict:
    """Runs all works at the same time and returns what each returned. The first failure ends it."""
    tasks = [Task(name.replace("_", " "), work, children) for name, work in works.items()]
    began = time.monotonic()
    for task in tasks:
        task.thread.start()
    line = Line()
    try:
        while True:
            for task in tasks:
                if task.failure is not None:
                    raise task.failure
            busy = [task for task in tasks if task.thread.is_alive()]
            if not busy:
                break
            says = " | ".join(f"{task.name}: {task.says}" if task.says else task.name for task in busy)
            line.show(f"[{time.monotonic() - began:3.0f} s] {says}")
            busy[0].thread.join(0.2)
    finally:
        line.clear()
    return {name: task.result for name, task in zip(works, tasks)}


class Line:
    """A line that is overwritten in a terminal, and elsewhere printed now and then."""

    EVERY = 15.0

    def __init__(self):
        self._tty = sys.stdout.isatty()
        self._next = time.monotonic() + 2.0

    def show(self, text: str) -> None:
        """Shows the text now, or not at all."""
        if self._tty:
            width = _columns() - 1
            sys.stdout.write("\r\x1b[K" + text[:width])
            sys.stdout.flush()
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + self.EVERY
            print(text, flush=True)

    def clear(self) -> None:
        """Leaves the line empty."""
        if self._tty:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
