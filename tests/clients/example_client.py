#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tests the example client against a real server, in about 10 seconds.

    python example_client.py SERVER_BINARY CLIENT_PY [SECONDS_OF_DISTURBANCE]

Clients send actions through a proxy that cuts connections from the first frame on, while the server
and the clients are killed with SIGKILL and started again. At the end the counter has to be exactly
the sum of all the actions that the clients have kept, and no client may have reported any other
outcome than "applied". Exit code 0 if so, else 1.
"""

import asyncio
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from asyncio import FIRST_COMPLETED, StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

CLIENTS = 3  # that run at the same time
ENVIRONMENT = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


class Failed(Exception):
    """The test has failed."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise Failed(message)


class Server:
    """The server, on any free port, and always with the same journal."""

    def __init__(self, binary: Path, journal: Path):
        self.binary, self.journal = binary, journal
        self.kills = 0

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            self.binary,
            "serve",
            env={
                **ENVIRONMENT,
                "STATESYNC__SERVER__BIND": "127.0.0.1:0",
                "STATESYNC__JOURNAL__PATH": str(self.journal),
            },
            cwd=self.journal.parent,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
        )
        assert self.process.stdout
        line = ""
        try:
            async with asyncio.timeout(10):
                line = (await self.process.stdout.readline()).decode()
        except TimeoutError:
            pass
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if found is None:
            await self.kill()
            raise Failed(f"the server did not get ready; it says {line!r}")
        self.port = int(found[1])
        self.url = f"ws://127.0.0.1:{self.port}/"

    async def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.kills += 1

    def connect(self, parameters: str = "") -> connect:
        protocols = [Subprotocol("statesync.v1")]
        return connect(self.url + parameters, subprotocols=protocols, proxy=None)

    async def value(self) -> int:
        async with self.connect() as ws, asyncio.timeout(5):
            while (message := json.loads(await ws.recv()))["type"] != "state":
                pass
            return int(message["value"])


class Proxy:
    """Forwards connections to the server, and cuts them with one of these faults:

    "requests": when the client speaks, after the handshake and what the server says at first.
    "requests sent": the same, but what the client says is still passed on.
    "answers": when the server answers to what the client says.
    "bytes": after some bytes, perhaps in the handshake or inside a frame.
    "": never.
    """

    def __init__(self, server: Server):
        self.server = server
        self.faults: list[str] = []  # of the connections to come
        self.random_faults = False  # when `faults` is used up
        self.cuts = 0
        self.cut = asyncio.Event()  # there was one

    async def __aenter__(self) -> "Proxy":
        self.listener = await asyncio.start_server(self.forward, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()

    async def forward(self, from_client: StreamReader, client: StreamWriter) -> None:
        try:
            from_server, server = await asyncio.open_connection("127.0.0.1", self.server.port)
        except OSError:
            return client.transport.abort()  # the server is being started again
        fault = ""
        if self.faults:
            fault = self.faults.pop(0)
        elif self.random_faults:
            fault = random.choice(["requests", "requests sent", "answers", "bytes", "bytes", ""])
        bytes_left = random.uniform(1, random.choice([1500, 9000]))
        spoken = False  # whether the client has sent a frame

        async def pump(source: StreamReader, sink: StreamWriter) -> None:
            nonlocal bytes_left, spoken
            while data := await source.read(random.randint(1, 400) if fault == "bytes" else 4000):
                bytes_left -= len(data)
                spoken |= source is from_client and not data.startswith(b"GET ")
                cut = (
                    fault == "bytes" and bytes_left < 0
                    or fault in ("requests", "requests sent") and spoken
                    or fault == "answers" and spoken and source is from_server
                )
                if not cut or fault == "requests sent":
                    sink.write(data)
                    await sink.drain()
                if cut:
                    self.cuts += 1
                    self.cut.set()
                    return

        tasks = [asyncio.create_task(pump(from_client, server))]
        tasks += [asyncio.create_task(pump(from_server, client))]
        try:
            await asyncio.wait(tasks, return_when=FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            client.transport.abort()
            server.transport.abort()


class Runner:
    """Runs the client with one state file, again and again, and knows what the counter owes it."""

    def __init__(self, client: Path, file: Path):
        self.client, self.file = client, file
        self.identity = ""
        self.kept = 0  # how many actions the client has kept
        self.total = 0  # their sum
        self.reported = 0  # how many it has reported as applied, as far as it was left to
        self.kills = 0

    async def start(self, url: str, *actions: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            self.client,
            url,
            "--state",
            self.file,
            *actions,
            env=ENVIRONMENT,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )

    async def run(
        self,
        url: str,
        actions: list[int],
        kill_after: float | None = None,
        kill_when: asyncio.Event | None = None,
    ) -> bool:
        """Run the client once. Returns whether it came to its end before it was killed."""
        words = (f"plus:{by}" if by > 0 else f"minus:{-by}" for by in actions)
        process = await self.start(url, *words)
        text, killed = await end_of(process, kill_after or 15, kill_when)
        self.reported += text.count(": applied\n")
        self.kills += killed
        may_be_killed = kill_after is not None or kill_when is not None and kill_when.is_set()
        check(may_be_killed or not killed, f"the client does not end. It says:\n{text}")
        check(killed or process.returncode == 0, f"the client failed. It says:\n{text}")
        check(killed or "value: " in text, f"the client tells no value. It says:\n{text}")
        for line in text.splitlines():
            expected = line.endswith(": applied") or line.startswith("value: ")
            check(expected, f"the client says: {line}")
        if self.file.exists():  # else it was killed before it did anything
            state = self.state()
            self.identity = self.identity or state["client"]
            check(state["client"] == self.identity, "the client has changed its identity")
            kept = state["next_number"] - 1 + sum("id" not in a for a in state["actions"])
            self.total += sum(actions[: kept - self.kept])
            self.kept = kept
        return not killed

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text()))


async def end_of(
    process: Process, seconds: float, kill_when: asyncio.Event | None = None
) -> tuple[str, bool]:
    """Returns what a process prints until it ends, and whether it had to be killed."""
    output: asyncio.Future[Any] = asyncio.create_task(process.communicate())
    event: asyncio.Future[Any] = asyncio.create_task((kill_when or asyncio.Event()).wait())
    try:
        await asyncio.wait([output, event], timeout=seconds, return_when=FIRST_COMPLETED)
    finally:
        event.cancel()
        killed = process.returncode is None
        if killed:
            process.kill()
        text = (await output)[0].decode()
    return text, killed


async def first_contact(server: Server, runner: Runner, faults: list[str]) -> None:
    """What an identity sends first is lost, or what is answered to it. Nothing is unknown."""
    async with Proxy(server) as proxy:
        proxy.faults = list(faults)
        await runner.run(proxy.url, [1, 20, -300])
        check(not proxy.faults and proxy.cuts > 0, f"the faults {faults} did not happen")


async def killed_in_flight(server: Server, runner: Runner) -> None:
    """The client is killed just after it has sent something. It has to remember that."""
    async with Proxy(server) as proxy:
        proxy.faults = ["requests sent"]
        await runner.run(proxy.url, [1, 20, -300], kill_when=proxy.cut)
        check(proxy.cut.is_set(), "the client has not sent anything")


async def server_began_anew(server: Server, runner: Runner) -> None:
    """The server has lost its past. What may have been sent is unknown, and not sent again."""
    await server.start()
    try:
        await killed_in_flight(server, runner)
        await server.kill()
        shutil.rmtree(server.journal)
        await server.start()
        process = await runner.start(server.url, "plus:4000")
        text, _ = await end_of(process, 10)
        expected = ["plus 1: unknown", "plus 20: unknown", "minus 300: unknown"]
        expected += ["plus 4000: applied", "value: 4000"]
        check(text.splitlines() == expected, f"the server began anew; the client says:\n{text}")
        check(process.returncode == 1, "the exit code is 0, but not all was applied")
    finally:
        await server.kill()


async def given_up(url: str, runner: Runner, why: str) -> None:
    """The client gives up, and says why."""
    process = await runner.start(url, "plus")
    text, _ = await end_of(process, 5)
    check(process.returncode == 1 and why in text, f'no "{why}" in what the client says: {text}')


async def one_place(server: Server, runner: Runner) -> None:
    """An identity is used by one process. If a connection has taken its place, it comes back."""
    watcher = await runner.start(server.url)
    try:
        assert watcher.stdout
        async with asyncio.timeout(5):
            await watcher.stdout.readline()  # the first state
        await given_up(server.url, runner, "in use")
        async with asyncio.timeout(5), server.connect(f"?client={runner.identity}") as ws:
            await ws.wait_closed()
        check(ws.close_code == 4409, f"closed with {ws.close_code} instead of 4409")
    except TimeoutError:
        raise Failed("the client shows no state, or does not come back after 4409") from None
    finally:
        await end_of(watcher, 0)


async def disturbed(
    server: Server, proxy: Proxy, new_runner: Callable[[], Runner], seconds: float
) -> None:
    """Everything at once, for some seconds: new identities again and again, cuts and kills."""
    end = time.monotonic() + seconds

    async def clients() -> None:
        while time.monotonic() < end:
            runner = new_runner()
            ended = False
            while not ended and time.monotonic() < end:
                kill_after = min(random.uniform(0.3, 4), end - time.monotonic())
                ended = await runner.run(proxy.url, some_actions(), kill_after)

    async def killer() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(random.uniform(0.3, 1.5))
            await server.kill()
            await server.start()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(killer())
        for _ in range(CLIENTS):
            tasks.create_task(clients())


def some_actions() -> list[int]:
    return [random.choice([-1, 1]) * random.randint(1, 10**6) for _ in range(random.randint(1, 80))]


async def test(binary: Path, client: Path, seconds: float, directory: Path) -> str:
    server = Server(binary, directory / "journal")
    runners: list[Runner] = []

    def new_runner() -> Runner:
        runners.append(Runner(client, directory / f"client-{len(runners)}.json"))
        return runners[-1]

    await server.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            for faults in ["requests"], ["requests sent"], ["answers"], ["requests", "requests"]:
                tasks.create_task(first_contact(server, new_runner(), faults))
            tasks.create_task(killed_in_flight(server, new_runner()))
            other_server = Server(binary, directory / "other-journal")
            other_runner = Runner(client, directory / "other-client.json")
            tasks.create_task(server_began_anew(other_server, other_runner))
            nowhere = Runner(client, directory / "nowhere.json")
            tasks.create_task(given_up(server.url + "nowhere", nowhere, "404"))
        await one_place(server, runners[0])
        async with Proxy(server) as proxy:
            proxy.random_faults = True
            await disturbed(server, proxy, new_runner, seconds)
        cut_short = [r for r in runners if not r.file.exists() or r.state()["actions"]]
        async with asyncio.TaskGroup() as tasks:
            for runner in cut_short:
                tasks.create_task(runner.run(server.url, [1]))

        summary = (
            f"{len(runners)} identities, {sum(runner.kept for runner in runners)} actions, "
            f"{sum(runner.reported for runner in runners)} seen reported as applied; "
            f"{proxy.cuts} connections cut, {server.kills} times the server killed, "
            f"{sum(runner.kills for runner in runners)} times a client"
        )
        value, expected = await server.value(), sum(runner.total for runner in runners)
        check(value == expected, f"the counter is {value}, but should be {expected} ({summary})")
        held = [runner.file.name for runner in runners if runner.state()["actions"]]
        check(not held, f"undecided actions are left in {held}")
        check(proxy.cuts > 0 and server.kills > 0, f"nothing was disturbed: {summary}")
        return f"the counter is {value}, as it should be: {summary}"
    finally:
        await server.kill()


def main() -> int:
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 1
    binary, client = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    seconds = float(sys.argv[3]) if len(sys.argv) == 4 else 4
    started = time.monotonic()

    async def limited(directory: Path) -> str:
        async with asyncio.timeout(seconds + 40):
            return await test(binary, client, seconds, directory)

    with tempfile.TemporaryDirectory() as directory:
        try:
            result = asyncio.run(limited(Path(directory)))
        except Exception as failure:
            while isinstance(failure, ExceptionGroup):
                failure = failure.exceptions[0]
            print(f"FAILED: {type(failure).__name__}: {failure}")
            return 1
    print(f"passed in {time.monotonic() - started:.1f} s: {result}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
