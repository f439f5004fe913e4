#!/usr/bin/env python3
"""`make test-mongo-matrix`: the integration tests against each way to run MongoDB that a single server can be.

`MONGOD_BIN` names the server, else `mongod` on the PATH, else the stand-in: a single server, a replica set of one, and a
server that asks for a password. One after the other: each has the machine to itself.
"""

import argparse
import os
import re
import subprocess
import time
from pathlib import Path

import parts
import processes
import rows
import run
import servers
import tasks
import test
from processes import Children
from rows import Row
from settings import Failure

SET = "tickets"
USER, PASSWORD = "tests", "matrix"
# These put a proxy in the way, which knows no password.
WITHOUT_PASSWORD = [
    *("absent_servers", "codes::", "collations_and_views", "large::", "read_before_an_adoption", "refused::"),
]


def main() -> int:
    """Runs every row, and fails where one did not pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=["single", "replica-set", "password"])
    only = parser.parse_args().only
    began = time.monotonic()
    with parts.fresh() as data, Children() as children:
        found = tasks.run(
            children, build=rows.build, client=run.install_client, mongodb=find, redis=servers.find_redis
        )
        print(f"Prepared in {time.monotonic() - began:.0f} s", flush=True)
        server = found["mongodb"]
        planned = plan(server, only)
        redis = servers.start_redis(found["redis"], children, data)
        for number, row in enumerate(planned, 1):
            row.server, row.version = identity(row.program)
            name = "mongod" if server.kind == "mongod" else "secantusd-rs"
            addresses = lambda uri: {"REDIS_URL": redis, "MONGO_URI": uri, "MONGO_PROGRAM": str(server.program)}
            rows.perform(row, addresses, data / f"row-{number}", name)
    return rows.sum_up(planned, time.monotonic() - began)


def find(task: tasks.Task) -> servers.Found:
    """The server's program."""
    named = os.environ.get("MONGOD_BIN")
    if named:
        program = Path(named).absolute()
        if not program.exists():
            raise Failure(f"MONGOD_BIN: there is no {program}")
        kind = "mongod" if program.name.startswith("mongod") else "stand-in"
        return servers.Found(program=program, kind=kind, told=named)
    found = servers.find_mongo(task)
    if found.url:
        raise Failure("MONGO_URI is set: the matrix starts servers of its own; name a program by MONGOD_BIN")
    return found


def plan(server: servers.Found, only: list[str] | None) -> list[Row]:
    """The rows in their order."""
    starts = {"single": single, "replica-set": replica_set}
    if server.kind == "mongod":
        # The stand-in takes no users before it asks for them.
        starts["password"] = password
    planned = []
    for name, start in starts.items():
        skipped = WITHOUT_PASSWORD if name == "password" else []
        step = test.Step(f"integration, {name}", rows.integration(skipped))
        planned.append(Row(server.program, step, lambda _, children, data, start=start: start(server, children, data)))
    chosen = [row for name, row in zip(starts, planned, strict=True) if not only or name in only]
    if not chosen:
        raise Failure(f"none of these runs with {server.program}")
    return chosen


def single(server: servers.Found, children: Children, data: Path) -> str:
    """A server that belongs to no set."""
    more = [] if server.kind == "mongod" else ["--standalone"]
    return servers.start_mongo(server, children, data, *more)


def replica_set(server: servers.Found, children: Children, data: Path) -> str:
    """A set of one, as which the stand-in shows itself by itself."""
    if server.kind != "mongod":
        return servers.start_mongo(server, children, data)
    uri = servers.start_mongo(server, children, data, "--replSet", SET)
    host = re.search(r"//([^/]+)/", uri)[1]
    member = {"_id": 0, "host": host}
    servers.tell_mongo(uri, {"replSetInitiate": {"_id": SET, "members": [member]}})
    number = int(host.rpartition(":")[2])
    elected = lambda: b"isWritablePrimary\0\x01" in servers.ask_mongo(number, {"hello": 1})
    processes.until("the set's primary", elected, None, data / "mongodb.log", 60)
    return f"{uri}?replicaSet={SET}"


def password(server: servers.Found, children: Children, data: Path) -> str:
    """A server with users."""
    uri = servers.start_mongo(server, children, data, "--auth")
    # The first user is made from this machine, without a password.
    servers.tell_mongo(uri, {"createUser": USER, "pwd": PASSWORD, "roles": ["root"]})
    return f"{uri.replace('//', f'//{USER}:{PASSWORD}@')}?authSource=admin"


def identity(program: Path) -> tuple[str, str]:
    """What a server is called, and its version."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+\.\d+\.\d+)", told)
    return program.name, found[1] if found else "?"


if __name__ == "__main__":
    parts.guarded(main)
