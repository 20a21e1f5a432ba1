"""Checks that each server of benches/performance.toml is the same counter: two clients see how many
are here and all values in order, a third is counted in and out, and SIGTERM ends the server well.
"""

import asyncio
import json
import os
import pathlib
import sys
import tempfile
import tomllib

from websockets.asyncio.client import connect

ACTIONS = 500
DEADLINE_SECONDS = 20
ROOT = pathlib.Path.cwd()


class Classic:
    """A client of the classic protocol. It holds the server to the exact bytes."""

    path = "/"

    def __init__(self, socket):
        self.socket = socket

    async def greet(self):
        pass

    async def act(self, verb):
        await self.socket.send(json.dumps({"action": verb}, separators=(",", ":")))

    async def event(self):
        text = await self.socket.recv()
        event = json.loads(text)
        assert text == json.dumps(event, separators=(",", ":")), f"spelled differently: {text}"
        return event


class SocketIo(Classic):
    """A client of Socket.IO (Engine.IO 4, Socket.IO 5), no more of it than is needed here."""

    path = "/socket.io/?EIO=4&transport=websocket"

    async def greet(self):
        assert (await self.socket.recv()).startswith("0{")
        await self.socket.send("40")
        assert (await self.socket.recv()).startswith("40{")

    async def act(self, verb):
        await self.socket.send("42" + json.dumps(["action", {"action": verb}]))

    async def event(self):
        while (text := await self.socket.recv()) == "2":
            await self.socket.send("3")
        assert text.startswith("42"), text
        name, event = json.loads(text[2:])
        assert name == event["type"], text
        return event


async def until(client, **wanted):
    """The events up to the one that is wanted, which is the last of them."""
    events = []
    while not events or events[-1] != wanted:
        events.append(await client.event())
        assert list(events[-1]) in (["type", "value"], ["type", "count"]), events[-1]
    return events


def values(events):
    return [event["value"] for event in events if event["type"] == "state"]


async def joined(url, kind, count):
    client = kind(await connect(url + kind.path, compression=None, proxy=None, max_queue=None))
    await client.greet()
    greeting = [await client.event(), await client.event()]
    assert {event["type"] for event in greeting} == {"users", "state"}, greeting
    if {"type": "users", "count": count} not in greeting:
        greeting += await until(client, type="users", count=count)
    return client, values(greeting)[-1]


async def check_counter(url, kind, may_skip):
    first, value = await joined(url, kind, 1)
    assert value == 0, f"it begins with {value}"
    second, value = await joined(url, kind, 2)
    assert value == 0, f"a newcomer is told {value}"
    await until(first, type="users", count=2)

    for _ in range(ACTIONS):
        await first.act("plus")
    for client in (first, second):
        seen = values(await until(client, type="state", value=ACTIONS))
        assert seen == sorted(set(seen)), f"out of order: {seen}"
        assert may_skip or len(seen) == ACTIONS, f"{len(seen)} of {ACTIONS} values were shown"

    await second.act("minus")
    for client in (first, second):
        seen = values(await until(client, type="state", value=ACTIONS - 1))
        assert seen == [ACTIONS - 1], seen

    third, value = await joined(url, kind, 3)
    assert value == ACTIONS - 1, f"a newcomer is told {value}"
    await until(second, type="users", count=3)
    await (await third.socket.ping())
    await third.socket.close()
    await until(second, type="users", count=2)
    await first.socket.close()
    await until(second, type="users", count=1)
    await second.socket.close()


async def check(server):
    kind = SocketIo if "socket_io" in " ".join(server["command"]) else Classic
    program, *arguments = [
        word.replace("{statesync}", os.environ.get("STATESYNC", "target/release/statesync"))
        for word in server["command"]
    ]
    # As in the benches, each has an empty working directory of its own.
    with tempfile.TemporaryDirectory() as directory:
        process = await asyncio.create_subprocess_exec(
            # Only what is in the project is meant from its root; `node` is not.
            *[str(ROOT / word) if (ROOT / word).exists() else word for word in [program, *arguments]],
            cwd=directory,
            env=os.environ | server.get("environment", {}),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            line = (await process.stdout.readline()).decode()
            url = next(word for word in line.split() if word.startswith("http://"))
            await check_counter(url.replace("http", "ws").rstrip("/"), kind, "statesync" in program)
            process.terminate()
            status = await process.wait()
            assert status == 0, f"it ended with {status} after SIGTERM"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def main(names):
    with open("benches/performance.toml", "rb") as file:
        servers = tomllib.load(file)["server"]
    wrong = False
    for server in servers:
        if names and server["name"] not in names:
            continue
        try:
            await asyncio.wait_for(check(server), DEADLINE_SECONDS)
            print(f"good   {server['name']}")
        except Exception as error:
            wrong = True
            print(f"WRONG  {server['name']}: {type(error).__name__} {error}")
    return wrong


sys.exit(asyncio.run(main(sys.argv[1:])))
