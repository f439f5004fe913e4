#!/usr/bin/env python3
"""`make run`: everything on this machine, from the servers to a ticket that one can talk in."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import parts
import processes
import settings
import tasks
from processes import Children, Stopped
from settings import E2E, LOCAL, ROOT, TARGET, Failure, port

COLOURS = {"gateway-1": 36, "gateway-2": 35, "worker": 33}


@dataclass
class Process:
    """One of the product's processes: its name, program, and port for operators."""

    name: str
    program: str
    ops: int
    # Later ones end first: clients are sent away before the worker persists the last, and then the servers go.
    stage: int
    environment: dict = field(default_factory=dict)


def main() -> int:
    """Runs until Ctrl-C (0) or until a process dies (1)."""
    read = settings.load()
    gateways, worker = plan()
    with foreground(), parts.own(LOCAL / "run") as data, Children() as children:
        try:
            print(f"Settings from {read} and the environment. Preparing; the first time takes minutes.", flush=True)
            found = tasks.run(children, build=build, client=install_client, **parts.prepare())
            addresses = parts.start(found, children, data)
            logs = Logs()
            for process in [worker, *gateways]:
                start(process, addresses, children, logs)
            for process in [worker, *gateways]:
                wait_ready(process, children, logs)
            tokens = demo_tokens()
            introduce(gateways, demo_ticket(gateways[0], tokens), tokens)
            logs.follow()
            return watch(children)
        except Stopped:
            print("\nStopping.", flush=True)
            children.stop()
            print("Stopped. The data stays for the next start; `make clean-local` deletes it.", flush=True)
            return 0


def plan() -> tuple[list[Process], Process]:
    """The processes with their ports, each of which must be free."""
    ports = {
        name: port(name, default)
        for name, default in {
            "PORT": 5000,
            "PORT2": 5001,
            "OPS_PORT": 9100,
            "OPS_PORT2": 9102,
            "WORKER_OPS_PORT": 9101,
        }.items()
    }
    for name, number in ports.items():
        same = [other for other in ports if ports[other] == number and other != name]
        if same:
            raise Failure(f"{name} and {same[0]} are both {number}; choose different ports")
        processes.check_free(number, name)
    gateways = [
        Process("gateway-1", "ticket-gateway", ports["OPS_PORT"], 2, {"PORT": ports["PORT"]}),
        Process("gateway-2", "ticket-gateway", ports["OPS_PORT2"], 2, {"PORT": ports["PORT2"]}),
    ]
    return gateways, Process("worker", "ticket-worker", ports["WORKER_OPS_PORT"], 1)


def build(task: tasks.Task) -> None:
    """Builds both programs, without optimisation: the first start is three times as fast."""
    task.command(
        ["cargo", "build", "--locked", "--package", "ticket-gateway", "--package", "ticket-worker", "--bins"],
        hint="Rust is needed, with a C compiler and linker: https://rustup.rs",
        cwd=ROOT,
    )


def install_client(task: tasks.Task) -> None:
    """Installs socket.io-client for the example, once for each lock file."""
    install_packages(task, E2E, "socket.io-client")


def install_packages(task: tasks.Task, directory: Path, what: str) -> None:
    """Installs the npm packages of a directory, once for each lock file, without running scripts of theirs."""
    mark = directory / "node_modules" / ".package-lock.json"
    lock = directory / "package-lock.json"
    if mark.exists() and mark.stat().st_mtime >= lock.stat().st_mtime:
        return
    task.says = f"installing {what}"
    task.command(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        hint="Node.js 20.19 or newer is needed, with npm: https://nodejs.org",
        cwd=directory,
    )
    mark.touch()


def start(process: Process, addresses: dict, children: Children, logs: "Logs") -> None:
    """Starts one process; its log is held back until there is somebody to read it."""
    environment = {
        **os.environ,
        "LOG_FORMAT": settings.setting("LOG_FORMAT") or "pretty",
        # The way of each message, from the gateway that took it to the worker that stored it.
        "LOG": settings.setting("LOG") or "info,ticket_gateway=debug,ticket_worker=debug",
        # Operators of a local start are on this machine.
        "OPS_HOST": settings.setting("OPS_HOST") or settings.setting("HOST") or "127.0.0.1",
        # Nobody has to be sent elsewhere here, so Ctrl-C need not wait for it.
        "DRAIN_MS": settings.setting("DRAIN_MS") or "200",
        **addresses,
        **{name: str(value) for name, value in process.environment.items()},
        "OPS_PORT": str(process.ops),
    }
    child = children.start(
        process.name,
        [TARGET / "debug" / process.program],
        stage=process.stage,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    logs.add(process.name, child.stdout)


def wait_ready(process: Process, children: Children, logs: "Logs") -> None:
    """Waits for /readyz; shows the log where the process does not get there."""
    url = f"http://127.0.0.1:{process.ops}/readyz"
    deadline = time.monotonic() + 60
    while not answers(url):
        died = children.ended()
        if died or time.monotonic() > deadline:
            logs.print_all()
            raise Failure(f"{died[0]} {processes.how_ended(died[1])}" if died else f"{process.name} is not ready")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (OSError, urllib.error.URLError):
        return False


def demo_tokens() -> dict[str, str] | None:
    """The tokens of the examples' two people, for an hour: none where clients need none, None where none can be made."""
    if settings.setting("AUTH_MODE") != "jwt":
        return {}
    people = {"CUSTOMER": ("customer-1", "Sara", "user"), "AGENT": ("agent-1", "Omar", "agent")}
    tokens = {}
    for variable, (sub, name, role) in people.items():
        argv = [TARGET / "debug" / "ticket-gateway", "token", "--sub", sub, "--name", name, "--role", role]
        signed = subprocess.run(argv, capture_output=True, text=True)
        if signed.returncode:
            # Public keys check tokens, but can't sign any.
            print(f"warning: no demo ticket: no token: {signed.stderr.strip()}", file=sys.stderr)
            return None
        tokens[variable] = signed.stdout.strip()
    return tokens


def demo_ticket(gateway: Process, tokens: dict[str, str] | None) -> str | None:
    """Opens the ticket of the examples. The key makes every start find the same one."""
    if tokens is None:
        return None
    headers = {"content-type": "application/json", "idempotency-key": "make-run-demo"}
    if tokens:
        headers["authorization"] = f"Bearer {tokens['CUSTOMER']}"
    body = {"subject": "Where is my order?", "userId": "customer-1", "userName": "Sara"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.environment['PORT']}/tickets", data=json.dumps(body).encode(), headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)["ticket"]["_id"]
    except urllib.error.HTTPError as error:
        told = error.read().decode(errors="replace")
        print(f"warning: no demo ticket: {error.code} {told}", file=sys.stderr)
        return None


def introduce(gateways: list[Process], ticket: str | None, tokens: dict[str, str] | None) -> None:
    """Prints what to look at and what to paste."""
    first, second = (f"http://localhost:{gateway.environment['PORT']}" for gateway in gateways)
    print(
        f"""
Ready.
  Gateways   {first}  and  {second}
  Health     {first}/health
  Tickets    {first}/tickets"""
    )
    if ticket:
        with_token = {"token": "", "header": "", "agent": "", "customer": ""}
        if tokens:
            exports = "\n".join(f"export {name}={token}" for name, token in tokens.items())
            with_token = {
                "token": f"\nTokens of a customer and an agent, for an hour (paste this first):\n\n{exports}\n",
                "header": ' -H "authorization: Bearer $CUSTOMER"',
                "agent": ", { auth: { token: process.env.AGENT } }",
                "customer": ", { auth: { token: process.env.CUSTOMER } }",
            }
        print(EXAMPLES.format(first=first, second=second, ticket=ticket, e2e=E2E, **with_token))
    print("Ctrl-C stops everything. What the processes log from here on:\n", flush=True)


EXAMPLES = """  Ticket     {first}/tickets/{ticket}
{token}
Read the ticket's messages:

curl -s{header} {first}/tickets/{ticket}/messages

Send a message through one gateway and receive it through the other (paste it into another terminal):

(cd '{e2e}' && node --input-type=module -e '
import {{ io }} from "socket.io-client";
const ticketId = "{ticket}";
const agent = io("{second}"{agent});
const customer = io("{first}"{customer});
agent.on("message_received", ({{ message }}) => {{
  console.log(`the agent received #${{message.seq}} from ${{message.senderName}}: ${{message.content}}`);
  agent.close();
  customer.close();
}});
await agent.emitWithAck("join_ticket", {{ ticketId, userId: "agent-1", userType: "agent", userName: "Omar" }});
await customer.emitWithAck("join_ticket", {{ ticketId, userId: "customer-1", userType: "user", userName: "Sara" }});
customer.emit("send_message", {{
  ticketId, senderId: "customer-1", senderType: "user", senderName: "Sara", content: "Hello, is anybody there?",
}});
')
"""


class Logs:
    """The lines of all processes, each behind the name of who wrote it."""

    def __init__(self):
        self._lines: queue.SimpleQueue = queue.SimpleQueue()
        self._tty = sys.stdout.isatty()
        self._readers: list[threading.Thread] = []

    def add(self, name: str, stream) -> None:
        """Reads a process's output from now on."""

        def read():
            for line in stream:
                self._lines.put((name, line.rstrip("\n")))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self._readers.append(reader)

    def follow(self) -> None:
        """Prints every line from now on, beginning with those held back."""
        threading.Thread(target=self._print_for_ever, daemon=True).start()

    def _print_for_ever(self) -> None:
        while True:
            self._print(*self._lines.get())

    def print_all(self) -> None:
        """Prints what there is, after giving dead processes' last words time to arrive."""
        time.sleep(0.3)
        while not self._lines.empty():
            self._print(*self._lines.get())

    def _print(self, name: str, line: str) -> None:
        if self._tty:
            print(f"\x1b[{COLOURS.get(name, 37)}m{name:9} |\x1b[0m {line}", flush=True)
        else:
            print(f"{name:9} | {tasks.ANSI.sub('', line)}", flush=True)


def watch(children: Children) -> int:
    """Waits until a process dies, which ends the others."""
    while True:
        died = children.ended()
        if died:
            # The thread that follows the logs prints its last words.
            time.sleep(0.5)
            name, code = died
            log = LOCAL / "run" / f"{name}.log"
            print(f"error: {name} {processes.how_ended(code)}{processes.tail(log)}", file=sys.stderr)
            print("Stopping the others.", flush=True)
            return 1
        time.sleep(0.2)


class foreground:
    """Takes this program out of reach of Ctrl-C's way through make.

    In a terminal, Ctrl-C goes to make as well, which then reports a failure however well this ends. So this
    becomes the terminal's foreground group, alone, until it ends.
    """

    def __init__(self):
        self._terminal = None
        self._before = None

    def __enter__(self):
        import signal

        try:
            if os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp() != os.getpid():
                self._before = os.getpgrp()
                signal.signal(signal.SIGTTOU, signal.SIG_IGN)
                # Stopping only this would leave make waiting for it.
                signal.signal(signal.SIGTSTP, signal.SIG_IGN)
                os.setpgid(0, 0)
                os.tcsetpgrp(0, os.getpgrp())
                self._terminal = 0
        except OSError:
            pass
        return self

    def __exit__(self, *_):
        if self._terminal is not None:
            try:
                os.tcsetpgrp(self._terminal, self._before)
            except OSError:
                pass


if __name__ == "__main__":
    parts.guarded(main)
