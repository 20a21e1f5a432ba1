"""The counter with websockets on uvloop."""

import asyncio
import json
import os
import resource
import signal
import sys

import uvloop
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

# As in statesync: otherwise each newcomer costs every client an event.
PRESENCE_INTERVAL_SECONDS = 0.05
CHANGES = {"plus": 1, "minus": -1}


class Room:
    def __init__(self):
        self.value = 0
        self.connections = set()
        self.presence_changed = asyncio.Event()

    def state_event(self):
        return f'{{"type":"state","value":{self.value}}}'

    def users_event(self):
        return f'{{"type":"users","count":{len(self.connections)}}}'

    async def tell_presence(self):
        """Tells all how many are here: at once when it was quiet, and not too often."""
        while True:
            await self.presence_changed.wait()
            self.presence_changed.clear()
            broadcast(self.connections, self.users_event())
            await asyncio.sleep(PRESENCE_INTERVAL_SECONDS)

    async def converse(self, connection):
        self.connections.add(connection)
        self.presence_changed.set()
        # Not `send`, which may wait: a newer state could then come before this one.
        broadcast([connection], self.users_event())
        broadcast([connection], self.state_event())
        try:
            while True:
                self.take(await connection.recv(decode=False))
        except ConnectionClosed:
            pass
        finally:
            self.connections.discard(connection)
            self.presence_changed.set()

    def take(self, message):
        try:
            change = CHANGES[json.loads(message)["action"]]
        except (ValueError, TypeError, KeyError):
            return  # What is no action is ignored.
        self.value += change
        broadcast(self.connections, self.state_event())


async def main(port):
    # There is nothing to be kept.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    room = Room()
    presence = asyncio.create_task(room.tell_presence())
    # uvloop sets TCP_NODELAY. No heartbeat: the others have none that costs a task for each client.
    async with serve(
        room.converse, "127.0.0.1", port, compression=None, ping_interval=None, backlog=4096
    ) as server:
        host, port = server.sockets[0].getsockname()
        print(f"ready: http://{host}:{port}/", flush=True)
        await presence


_, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
