"""A client of another make, driven by lines of JSON: `client.py sync` or `client.py asyncio`.

Commands come on the standard input, and what happens goes to the standard output, as `harness/foreign.js` describes it.
"""

import asyncio
import contextlib
import json
import sys
import threading

import socketio

QUICK = {"reconnection_delay": 0.2, "reconnection_delay_max": 1}
_OUTPUT = threading.Lock()


def report(**what) -> None:
    """Writes what happened."""
    with _OUTPUT:
        print(json.dumps(what), flush=True)


def acknowledged(number: int):
    """The callback of an event."""
    return lambda answer=None: report(what="ack", ack=number, answer=answer)


def connecting(command: dict) -> dict:
    """The arguments of a connection."""
    return {"transports": command.get("transports"), "auth": {"token": command["token"]}, "wait_timeout": 20}


def commands():
    """The commands, as they come."""
    for line in sys.stdin:
        yield json.loads(line)


def run_sync() -> None:
    """The synchronous client."""
    client = socketio.Client(**QUICK)
    client.on("connect", lambda: report(what="connected", sid=client.get_sid()))
    client.on("disconnect", lambda reason=None: report(what="disconnected", reason=str(reason)))
    client.on("connect_error", lambda data=None: report(what="refused", reason=str(data)))
    client.on("*", lambda event, payload=None: report(what="event", event=event, payload=payload))
    for command in commands():
        match command["do"]:
            case "connect":
                with contextlib.suppress(socketio.exceptions.ConnectionError):  # reported as refused
                    client.connect(command["url"], **connecting(command))
            case "emit":
                number = command.get("ack")
                callback = None if number is None else acknowledged(number)
                client.emit(command["event"], command["payload"], callback=callback)
            case "transport":
                report(what="transport", name=client.transport())
            case "close":
                client.disconnect()
                return


async def run_asyncio() -> None:
    """The asynchronous client."""
    client = socketio.AsyncClient(**QUICK)

    async def connected():
        report(what="connected", sid=client.get_sid())

    async def disconnected(reason=None):
        report(what="disconnected", reason=str(reason))

    async def refused(data=None):
        report(what="refused", reason=str(data))

    async def heard(event, payload=None):
        report(what="event", event=event, payload=payload)

    for event, handler in {"connect": connected, "disconnect": disconnected, "connect_error": refused, "*": heard}.items():
        client.on(event, handler)
    source = commands()
    while (command := await asyncio.to_thread(next, source, None)) is not None:
        match command["do"]:
            case "connect":
                with contextlib.suppress(socketio.exceptions.ConnectionError):  # reported as refused
                    await client.connect(command["url"], **connecting(command))
            case "emit":
                number = command.get("ack")
                callback = None if number is None else acknowledged(number)
                await client.emit(command["event"], command["payload"], callback=callback)
            case "transport":
                report(what="transport", name=client.transport())
            case "close":
                await client.disconnect()
                return


if __name__ == "__main__":
    run_sync() if sys.argv[1] == "sync" else asyncio.run(run_asyncio())
