#!/usr/bin/env python3
"""Tests statesync with the Python library `websockets` (asyncio).

    websockets_client.py SCENARIO URL [ECHO_URL]
    websockets_client.py --list

`shutdown` prints `connected`, then waits for the server to be stopped and to
close the connection with 1001.
"""

import asyncio
import json
import socket
import struct
import sys
from pathlib import Path
from random import Random

import websockets
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from conversation import ECHO_MESSAGES, MINUS, PLUS, Arrival, Presence, main, shown, state, users


class Client:
    """One connection; everything on it is noted in the conversation."""

    def __init__(self, run, name):
        self.conversation = run.conversation
        self.name = name
        self.websocket = None
        self.presence = Presence()
        run.clients.append(self)

    async def open(self, url, **options):
        # No proxy: the server is on this machine, whatever the environment says.
        self.conversation.note(self.name, f"connects to {url} {options or ''}")
        try:
            self.websocket = await connect(
                url, proxy=None, open_timeout=self.conversation.deadline_seconds,
                close_timeout=self.conversation.deadline_seconds, **options)
        except (InvalidHandshake, OSError) as error:
            raise self.failure("to be let in", f"{type(error).__name__}: {error}") from None
        return self

    def failure(self, expected, got):
        return self.conversation.failure(self.name, expected, got)

    def check(self, condition, expected, got):
        self.conversation.check(self.name, condition, expected, got)

    async def send(self, message):
        self.conversation.note(self.name, f"sends {shown(message)}")
        await self.websocket.send(message)

    async def receive(self, expected):
        """The next message, repeated counts passed over."""
        while True:
            message = await self.receive_any(expected)
            if not self.presence.is_repeated(message):
                return message

    async def receive_any(self, expected):
        """The next message; `expected` is for the failure if none comes."""
        try:
            async with asyncio.timeout(self.conversation.deadline_seconds):
                message = await self.websocket.recv()
        except TimeoutError:
            raise self.failure(expected, self.conversation.nothing()) from None
        except ConnectionClosed as error:
            raise self.failure(expected, f"the end of the connection: {error}") from None
        self.conversation.note(self.name, f"receives {shown(message)}")
        return message

    async def expect(self, *messages):
        """Exactly these messages come next, as text or bytes as given."""
        for message in messages:
            got = await self.receive(shown(message))
            self.check(got == message, shown(message), shown(got))

    async def expect_error(self, *codes):
        text = await self.receive("an error event")
        self.conversation.check_error_event(self.name, text, codes)

    async def expect_ping_answered(self, payload):
        self.conversation.note(self.name, f"pings with {payload!r}")
        answered = await self.websocket.ping(payload)
        try:
            async with asyncio.timeout(self.conversation.deadline_seconds):
                await answered
        except TimeoutError:
            raise self.failure(f"a pong with {payload!r}", self.conversation.nothing()) from None

    async def close(self, code=1000):
        """The closing handshake: the server answers with the same code, or with 1000."""
        self.conversation.note(self.name, f"closes with {code}")
        await self.websocket.close(code)
        received = self.websocket.protocol.close_rcvd
        self.check(received is not None and received.code in (1000, code),
                   f"a close frame with {code} in answer to its own",
                   f"a close frame with {received.code}" if received else "no close frame")

    def cut(self):
        """Ends the connection with a reset, as a crash does."""
        self.conversation.note(self.name, "cuts the connection (RST)")
        transport = self.websocket.transport
        no_linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        transport.abort()


async def join_empty_room(run, **options):
    """A client that is alone in the room, and the room's value."""
    client = await Client(run, "first").open(run.url, **options)
    arrival = Arrival(client)
    while not arrival.is_alone():
        arrival.add(await client.receive(arrival.expected))
    return client, arrival.value


async def join(run, name, others, value, **options):
    """One more client; it and all others see exactly what they should."""
    client = await Client(run, name).open(run.url, **options)
    await client.expect(users(len(others) + 1), state(value))
    for other in others:
        await other.expect(users(len(others) + 1))
    return client


async def join_order(run):
    first, value = await join_empty_room(run)
    second = await join(run, "second", [first], value)
    third = await join(run, "third", [first, second], value)
    await third.close()
    await first.expect(users(2))
    await second.expect(users(2))
    await second.close()
    await first.expect(users(1))
    # Had there been one more event for the first, it would come before this.
    await first.send(PLUS)
    await first.expect(state(value + 1))
    await first.close()


async def actions(run):
    """Text frames, binary frames, fragments, JSON with spaces and more keys: all the same."""
    first, value = await join_empty_room(run)
    second = await join(run, "second", [first], value)
    for sender, message, change in [
        (first, PLUS, 1),
        (second, PLUS, 1),
        (first, MINUS, -1),
        (second, PLUS.encode(), 1),
        (first, MINUS.encode(), -1),
        (second, '{ "note": [1, {"action": "minus"}], "action" : "plus" }\n', 1),
        (first, ['{"action"', ':"mi', 'nus"}'], -1),
        (first, MINUS, -1),
    ]:
        value += change
        await sender.send(message)
        await first.expect(state(value))
        await second.expect(state(value))
    await first.close()
    await second.close()


async def one_order(run):
    """Two act at the same time; they and one that only looks on see the same, each state once."""
    times = 100
    first, value = await join_empty_room(run)
    second = await join(run, "second", [first], value)
    third = await join(run, "third", [first, second], value)
    clients = [first, second, third]

    async def act(client, message):
        for _ in range(times):
            await client.send(message)

    async def watch(client):
        return [json.loads(await client.receive(f"state number {number + 1} of {2 * times}"))
                for number in range(2 * times)]

    async with asyncio.TaskGroup() as group:
        group.create_task(act(first, PLUS))
        group.create_task(act(second, MINUS))
        watching = [group.create_task(watch(client)) for client in clients]
    seen = [task.result() for task in watching]
    for client, events in zip(clients, seen):
        client.check(events == seen[0], "the same events in the same order as the first client",
                     difference(seen[0], events))
    values = [event["value"] for event in seen[0]]
    steps = [after - before for before, after in zip([value] + values, values)]
    third.check(sorted(steps) == [-1] * times + [1] * times, f"{times} steps up and {times} down, one at a time",
                f"the values {values} from {value}")
    await first.send(PLUS)
    for client in clients:
        await client.expect(state(value + 1))
        await client.close()


def difference(wanted, got):
    for number, (one, other) in enumerate(zip(wanted, got)):
        if one != other:
            return f"event {number + 1} is {other}, the first client's is {one}"
    return "no difference"


async def bad_input(run):
    first, value = await join_empty_room(run)
    second = await join(run, "second", [first], value)
    for message, codes in [
        ('{"action":"multiply"}', ["unknown_action"]),
        ("not JSON", ["bad_json"]),
        ('{"action":"plus"', ["bad_json"]),
        ("", ["bad_json"]),
        (b"\xff\xfe\x00", ["bad_json"]),
        ("[]", []),
        ("{}", []),
        ('{"action":7}', []),
        ('{"action":"PLUS"}', ["unknown_action"]),
    ]:
        await first.send(message)
        await first.expect_error(*codes)
    await first.send(PLUS)
    await first.expect(state(value + 1))
    await second.expect(state(value + 1))
    await first.close()
    await second.close()


async def ping(run):
    client, value = await join_empty_room(run)
    for payload in [b"", b"are you there", bytes(125)]:
        await client.expect_ping_answered(payload)
    await client.send(PLUS)
    await client.expect(state(value + 1))
    await client.close()


async def clean_close(run):
    first, value = await join_empty_room(run)
    for code in [1000, 1001]:
        second = await join(run, f"one that closes with {code}", [first], value)
        await second.close(code)
        await first.expect(users(1))
    await first.close()


async def abrupt_end(run):
    """A client that is gone without a word is counted out, once."""
    first, value = await join_empty_room(run)
    second = await join(run, "second", [first], value)
    second.cut()
    await first.expect(users(1))
    third = await join(run, "third", [first], value)
    await third.send(PLUS)
    await first.expect(state(value + 1))
    await third.expect(state(value + 1))
    await third.close()
    await first.expect(users(1))
    await first.close()


async def original_counter(run):
    """The original's client, in a process of its own; it sees its two actions."""
    first, value = await join_empty_room(run)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("original_counter.py")), run.url,
        stdout=asyncio.subprocess.PIPE)
    try:
        for line in ["users: 2", f"value: {value}", f"value: {value + 1}", f"value: {value}"]:
            await expect_printed(run.conversation, process, line)
        texts = [await first.receive("a count of 2, and two states") for _ in range(3)]
        # Where the count stands among the states is the server's to choose.
        for kind, wanted in [("state", [state(value + 1), state(value)]), ("users", [users(2)])]:
            got = [text for text in texts if json.loads(text)["type"] == kind]
            first.check(got == wanted, f"the {kind} events {wanted}", got)
    finally:
        process.kill()
        await process.wait()
    await first.expect(users(1))
    await first.close()


async def expect_printed(conversation, process, line):
    """Exactly this line comes next; repeated counts are passed over, as everywhere."""
    is_first_count = line.startswith("users")
    while True:
        try:
            async with asyncio.timeout(conversation.deadline_seconds):
                got = (await process.stdout.readline()).decode().rstrip("\n")
        except TimeoutError:
            raise conversation.failure("original_counter.py", f"to print {line!r}", conversation.nothing()) from None
        conversation.note("original_counter.py", f"prints {got!r}")
        if is_first_count or not got.startswith("users"):
            break
    conversation.check("original_counter.py", got == line, f"to print {line!r}", f"{got!r}")


async def compression(run):
    """The library offers permessage-deflate by default; it is agreed, and all works, and so without the offer."""
    first, value = await join_empty_room(run)
    answer = first.websocket.response.headers.get("Sec-WebSocket-Extensions")
    first.check(answer is not None, "permessage-deflate in the answer, as it was offered", repr(answer))
    second = await join(run, "second, which offers nothing", [first], value, compression=None)
    answer = second.websocket.response.headers.get("Sec-WebSocket-Extensions")
    second.check(answer is None, "no extension in the answer, as none was offered", repr(answer))
    for sender, message, after in [(first, PLUS, value + 1), (second, MINUS, value)]:
        await sender.send(message)
        await first.expect(state(after))
        await second.expect(state(after))
    await first.close()
    await second.close()


async def compressed_echo(run):
    """Each parameter of permessage-deflate, and messages of every length that a frame writes in its own way."""
    lengths = [0, 1, 125, 126, 127, 128, 511, 512, 65_535, 65_536, 70_000]
    offers = [{}, {"client_max_window_bits": True}, {"client_max_window_bits": 9}, {"server_no_context_takeover": True},
              {"client_no_context_takeover": True}, {"server_max_window_bits": 9}, {"server_max_window_bits": 15}]
    for number, offer in enumerate(offers):
        client = Client(run, f"client {number}")
        await client.open(run.echo_url, compression=None, extensions=[ClientPerMessageDeflateFactory(**offer)])
        answer = client.websocket.response.headers.get("Sec-WebSocket-Extensions") or ""
        client.check("permessage-deflate" in answer, "permessage-deflate in the answer", repr(answer))
        for length in lengths:
            random = Random(length).randbytes(length)
            for message in ["statesync, ".ljust(length, "e")[:length], random, random[:length // 8] * 8]:
                await client.send(message)
                await client.expect(message)
        await client.close()
    client = Client(run, "client with a window that zlib cannot have")
    await client.open(run.echo_url, compression=None,
                      extensions=[ClientPerMessageDeflateFactory(server_max_window_bits=8)])
    answer = client.websocket.response.headers.get("Sec-WebSocket-Extensions")
    client.check(answer is None, "no extension in the answer", repr(answer))
    await client.send("statesync, " * 100)
    await client.expect("statesync, " * 100)
    await client.close()


async def unknown_subprotocol(run):
    client, value = await join_empty_room(run, subprotocols=["mqtt", "wamp.2.json"])
    answer = client.websocket.response.headers.get("Sec-WebSocket-Protocol")
    client.check(answer is None, "an answer without Sec-WebSocket-Protocol, as the server knows none of those",
                 repr(answer))
    await client.send(PLUS)
    await client.expect(state(value + 1))
    await client.close()


async def echo(run):
    client = Client(run, "client")
    client.check(run.echo_url, "the ECHO_URL argument", "none")
    await client.open(run.echo_url)
    for message in ECHO_MESSAGES:
        await client.send(message)
        await client.expect(message)
    await client.close()


async def shutdown(run):
    client, _ = await join_empty_room(run)
    print("connected", flush=True)
    # The server is stopped by whoever started this; that may take a while.
    run.conversation.deadline_seconds = max(run.conversation.deadline_seconds, 60)
    try:
        async with asyncio.timeout(run.conversation.deadline_seconds):
            message = await client.websocket.recv()
        raise client.failure("a close with 1001, going away", shown(message))
    except TimeoutError:
        raise client.failure("a close with 1001, going away", run.conversation.nothing()) from None
    except ConnectionClosed as closed:
        is_going_away = closed.rcvd is not None and closed.rcvd.code == 1001
        client.check(is_going_away, "a close with 1001, going away", str(closed))
    print("closed with 1001", flush=True)


SCENARIOS = [join_order, actions, one_order, bad_input, ping, clean_close, abrupt_end, original_counter,
             compression, compressed_echo, unknown_subprotocol, echo, shutdown]


def in_event_loop(scenario):
    async def perform(run):
        try:
            await scenario(run)
        finally:
            # After a failure nobody may be left in the room for the next scenario to trip over.
            for client in run.clients:
                if client.websocket:
                    client.websocket.transport.abort()

    return lambda run: asyncio.run(perform(run))


if __name__ == "__main__":
    main(f"websockets {websockets.__version__}",
         {scenario.__name__: in_event_loop(scenario) for scenario in SCENARIOS},
         unlisted=["shutdown"], description=__doc__)
