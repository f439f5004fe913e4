#!/usr/bin/env python3
"""Runs a command with a Redis and a MongoDB server beside it: `parts.py [--data DIR] -- command …`.

The command finds them by REDIS_URL and MONGO_URI. What was started ends with the command.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import processes
import servers
import tasks
from processes import Children, Stopped
from settings import LOCAL, Failure


@contextlib.contextmanager
def own(directory: Path):
    """Claims a data directory, so that two servers never write to the same files."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"{directory} is in use by another start; stop that one first") from None
        yield directory


@contextlib.contextmanager
def fresh():
    """A data directory of this run alone, deleted at its end."""
    directory = LOCAL / f"test-{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    with own(directory):
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def prepare() -> dict:
    """The works that find or install the servers, for `tasks.run`."""
    return {"redis": servers.find_redis, "mongodb": servers.find_mongo}


def start(found: dict, children: Children, data: Path) -> dict[str, str]:
    """Starts what was found and returns the environment of those who use it."""
    redis = servers.start_redis(found["redis"], children, data)
    print(f"Redis    {servers.shown(redis)}  ({found['redis'].told})", flush=True)
    mongo = servers.start_mongo(found["mongodb"], children, data)
    print(f"MongoDB  {servers.shown(mongo)}  ({found['mongodb'].told})", flush=True)
    # What was installed is for others to start, too.
    environment = {"REDIS_URL": redis, "MONGO_URI": mongo, "PATH": servers.path_with(servers.BIN)}
    if found["mongodb"].program:
        # For tests that start one of their own, with a password.
        environment["MONGO_PROGRAM"] = str(found["mongodb"].program)
    return environment


def main() -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="keep the data here (default: fresh, deleted at the end)")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    place = own(arguments.data.absolute()) if arguments.data else fresh()
    with place as data, Children() as children:
        found = tasks.run(children, **prepare())
        environment = {**os.environ, **start(found, children, data)}
        # In the foreground, with the terminal: it may be a shell.
        command = subprocess.Popen(arguments.command, env=environment, preexec_fn=processes.end_with_parent)
        try:
            return _code(command.wait())
        except Stopped as stopped:
            command.send_signal(stopped.args[0])
            try:
                return _code(command.wait(processes.GRACE))
            except subprocess.TimeoutExpired:
                command.kill()
                raise


def _code(code: int) -> int:
    return 128 - code if code < 0 else code


def guarded(run) -> None:
    """Runs a main function and turns what it raises into a message and an exit code."""
    processes.on_signals_stop()
    try:
        sys.exit(run())
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        sys.exit(128 + stopped.args[0] if stopped.args[0] != signal.SIGINT else 130)


if __name__ == "__main__":
    guarded(main)
