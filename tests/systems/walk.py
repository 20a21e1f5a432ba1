#!/usr/bin/env python3
"""Walks through all systems of docs/systems.md, against one server with one configuration.

    target/test-env/venv/bin/python tests/systems/walk.py target/debug/statesync target/debug/examples

These are the binary, and the directory with the built examples (cargo build --bins --examples).

The clients are as introductory texts on WebSocket servers in Python write them; only the URL is
another. Prints a row for each system: its number and name, its room, its client, what was seen,
and `pass` or `FAIL` with the reason. Exits with 1 if one fails.
"""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import struct
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

import websocket
import websockets.sync.client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus

from cable import Cable
from place import Place
from programs import DEADLINE_SECONDS, Program, Server, clean_environment
from raw_client import BINARY, CLOSE, PING, RSV1, TEXT, RawClient

# A row that takes longer hangs; most take less than a second.
ROW_SECONDS = 20
TOKEN = "secret-of-the-walk"
UTC_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
LOCAL_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}"
PLUS, MINUS = json.dumps({"action": "plus"}), json.dumps({"action": "minus"})

ROWS = []


def row(number, system, room, client):
    """The function walks this row, and returns what it saw. It may be a coroutine."""
    def add(walk):
        ROWS.append((number, system, room, client, walk))
        return walk
    return add


def equal(got, expected):
    assert got == expected, f"{got!r} instead of {expected!r}"


def users(count):
    return {"type": "users", "count": count}


def state(value):
    return {"type": "state", "value": value}


async def event(websocket):
    return json.loads(await websocket.recv())


async def until(websocket, expected):
    """Reads until this event."""
    while await event(websocket) != expected:
        pass


async def joined(websocket):
    """Until the server has taken it into the room: its pong comes after that."""
    await (await websocket.ping())


@row(1, "Counter", "`/`", "`websockets`, three at once")
async def counter(place):
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for count in [1, 2, 3]:
            newcomer = await stack.enter_async_context(connect(place.url("/")))
            equal([await event(newcomer), await event(newcomer)], [users(count), state(0)])
            for client in clients:
                equal(await event(client), users(count))
            clients.append(newcomer)
        ann, bob, carl = clients
        await asyncio.gather(*(client.send(action) for client in clients for action in [PLUS, PLUS, MINUS]))
        orders = [[await event(client) for _ in range(9)] for client in clients]
        assert orders[0] == orders[1] == orders[2], f"not in one order: {orders}"
        equal(orders[0][-1], state(3))
        await ann.send(json.dumps({"action": "times"}))
        equal((await event(ann))["code"], "unknown_action")
        place.server.stderr.wait_for('refused unknown_action: no action "times"')
        await ann.send(PLUS)
        for client in clients:
            equal(await event(client), state(4))
        await carl.close()
        for client in [ann, bob]:
            equal(await event(client), users(2))
    return "users, state; 9 actions in one order; an unknown one is logged, changes nothing; users on leaving"


@row(2, "Counter page", "`/`", "Chromium, three tabs")
def counter_page(place):
    return place.in_browser("tabs")


@row(3, "Hello", "`/hello`", "`websockets`")
async def hello(place):
    async with connect(place.url("/hello")) as websocket:
        await websocket.send("Ann")
        greeting = await websocket.recv()
        equal(greeting, "Hello Ann!")
        with contextlib.suppress(ConnectionClosedOK):
            raise AssertionError(f"not closed, but {await websocket.recv()!r}")
        equal(websocket.close_code, 1000)
    return f"{greeting}, then a close with 1000"


@row(4, "Echo", "`/echo`, `/echo-prefix`, `/echo-time`", "`websocket-client`")
def echo(place):
    patterns = {"/echo": "TEXT", "/echo-prefix": "server received: TEXT",
                "/echo-time": rf'Data received as "TEXT"\.  time: {LOCAL_TIME}'}
    for path, pattern in patterns.items():
        ws = websocket.create_connection(place.url(path), timeout=DEADLINE_SECONDS)
        for text in ["hello", "大家好"]:
            ws.send(text)
            answer = ws.recv()
            assert re.fullmatch(pattern.replace("TEXT", text), answer), f"{path}: {answer!r}"
        ws.close()
    return f"the text as it is; with a prefix; {answer}"


@row(5, "Clock", "`/clock`", "`websockets`")
async def clock(place):
    async with connect(place.url("/clock")) as websocket:
        times = [await websocket.recv() for _ in range(4)]
    assert all(re.fullmatch(UTC_TIME, time) for time in times), times
    assert sorted(set(times)) == times, f"not rising: {times}"
    return f"{times[0]} and three more, nothing sent"


@row(6, "Ticker", "`/ticker`", "`websockets`, two, one after the other")
async def ticker(place):
    async with connect(place.url("/ticker")) as first:
        heard = [await first.recv() for _ in range(2)]
        async with connect(place.url("/ticker")) as second:
            equal([await second.recv() for _ in range(3)], ["Hello 1!", "Hello 2!", "Hello 3!"])
        equal(heard + [await first.recv()], ["Hello 1!", "Hello 2!", "Hello 3!"])
    return "Hello 1!, Hello 2!, Hello 3!, counted for each"


@row(7, "Relay", "`/relay`", "`websockets`, three")
async def relay(place):
    url = place.url("/relay")
    async with connect(url) as ann, connect(url) as bob, connect(url) as carl:
        for client in [ann, bob, carl]:
            await joined(client)
        await ann.send("one")
        equal([await bob.recv(), await carl.recv()], ["broadcast message: one"] * 2)
        await bob.send("two")
        # What Ann sent herself would come first.
        equal([await ann.recv(), await carl.recv()], ["broadcast message: two"] * 2)
    return "broadcast message: one, to all others, not back"


@row(8, "Chat room", "`/chat`", "`websockets`, three")
async def chat(place):
    async with connect(place.url("/chat")) as ann, connect(place.url("/chat")) as bob:
        async def both(kind, **keys):
            for client in [ann, bob]:
                while (heard := await event(client))["type"] != kind:
                    pass
                equal({key: heard.get(key) for key in keys}, keys)

        await joined(ann)
        await joined(bob)
        await ann.send(json.dumps({"action": "login", "name": "Ann"}))
        await both("joined", name="Ann")
        await bob.send(json.dumps({"action": "login", "name": "Bob"}))
        await both("joined", name="Bob")
        await ann.send(json.dumps({"action": "message", "text": "hi"}))
        await both("message", **{"from": "Ann", "text": "hi"})
        async with connect(place.url("/chat")) as carl:
            first, kept = await event(carl), await event(carl)
            equal(first, {"type": "users", "count": 3, "users": ["Ann", "Bob"]})
            equal((kept["type"], kept["from"], kept["text"]), ("message", "Ann", "hi"))
        await bob.send(json.dumps({"action": "logout"}))
        await both("left", name="Bob")
    return "joined, message and left reach everyone; a newcomer gets who is online and what was said"


@contextlib.contextmanager
def example(place, name):
    program = place.examples / name
    assert program.exists(), f"{program} is missing: run cargo build --examples"
    with Server(program, environment={"STATESYNC__SERVER__BIND": "127.0.0.1:0"}) as running:
        line = running.stdout.text.split("statesync is ready: ")[1]
        running.root = "ws://" + re.search(r"://([^/\s]+)", line)[1]
        yield running


@row(9, "Consumer, producer, both", "`examples/`", "`websockets`")
async def handlers(place):
    seen = []
    with example(place, "consumer") as program:
        async with connect(f"{program.root}/") as websocket:
            await websocket.send("two words")
            seen.append(await websocket.recv())
            equal(seen[-1], "words: 2, of 2 in all")
    with example(place, "producer") as program:
        async with connect(f"{program.root}/") as websocket:
            await joined(websocket)
            program.type("a line\n")
            seen.append(await websocket.recv())
            equal(seen[-1], "a line")
    with example(place, "both") as program:
        async with connect(f"{program.root}/") as websocket:
            await websocket.send("hi")
            seen += [await websocket.recv(), await websocket.recv()]
            equal(seen[-2:], ["hi", "messages in this second: 1"])
    return "; ".join(seen)


@row(10, "Arguments of a room", "`examples/arguments.rs`", "`websockets`")
async def arguments(place):
    answers = []
    with example(place, "arguments") as program:
        for path in ["/polite", "/loud"]:
            async with connect(program.root + path) as websocket:
                await websocket.send("Ann")
                answers.append(await websocket.recv())
    equal(answers, ["Good evening, Ann!", "Hey, Ann!!!"])
    return " and ".join(answers)


CRASHING_CLIENT = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1]) as websocket:
    for message in websocket:
        pass
"""


@row(11, "Registration", "`/registration`", "`websockets`: closed, killed, reset, its cable cut")
async def registration(place):
    url = place.url("/registration")
    async with connect(url) as watcher:
        await until(watcher, users(1))
        async with connect(url):
            await until(watcher, users(2))
        await until(watcher, users(1))

        with Program(sys.executable, "-c", CRASHING_CLIENT, url) as crashing:
            await until(watcher, users(2))
            crashing.kill()
            await until(watcher, users(1))

        reset = RawClient(place.address, "/registration")
        await until(watcher, users(2))
        reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        await until(watcher, users(1))

        with contextlib.closing(Cable(place.address)) as cable:
            async with connect(f"ws://{cable.address}/registration", close_timeout=0):
                await until(watcher, users(2))
                cable.cut()
                await until(watcher, users(1))
    return "each is counted out: after a close, kill -9, a reset, and a cut cable (by the heartbeat)"


@row(12, "Token in the handshake", "`/guarded`", "`websockets`")
async def token(place):
    url = place.url("/guarded")
    for value in [TOKEN, f"Bearer {TOKEN}"]:
        async with connect(url, additional_headers={"Authorization": value}) as websocket:
            await until(websocket, state(0))
    for headers in [{}, {"Authorization": "wrong"}]:
        async with connect(url, additional_headers=headers) as websocket:
            equal(await websocket.recv(), "unauthorized")
            with contextlib.suppress(ConnectionClosedOK):
                await websocket.recv()
            equal(websocket.close_code, 1000)
    with place.variant(AUTH__REFUSAL="http") as server:
        try:
            async with connect(f"ws://{server.addresses[0]}/guarded"):
                raise AssertionError("let in without a token")
        except InvalidStatus as error:
            equal(error.response.status_code, 401)
    return 'TOKEN and Bearer TOKEN are let in; without: unauthorized and 1000, or 401 with refusal = "http"'


@row(13, "wss", "`/echo`", "`websockets` with an `ssl` context")
async def wss(place):
    ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ssl_context.load_verify_locations(Path(place.directory, "cert.pem"))

    async def speak(port):
        async with connect(f"wss://localhost:{port}/echo", ssl=ssl_context) as websocket:
            await websocket.send("hello")
            equal(await websocket.recv(), "hello")
            return websocket.transport.get_extra_info("ssl_object").version()

    version = await speak(place.tls_port)
    texts = [Path(place.directory, name).read_text() for name in ["cert.pem", "key.pem"]]
    Path(place.directory, "both.pem").write_text("".join(texts))
    with place.variant(SERVER__TLS__CERT="both.pem", SERVER__TLS__KEY="") as server:
        await speak(server.tls_addresses[0].rsplit(":", 1)[1])
    return f"{version}, self-signed, certificate and key in two files and in one"


@row(14, "HTTP on the same port", "`/health/`", "`http.client`")
def health(place):
    connection = http.client.HTTPConnection(place.address, timeout=DEADLINE_SECONDS)
    connection.request("GET", "/health/")
    response = connection.getresponse()
    equal((response.status, response.read()), (200, b"OK\n"))
    connection.close()
    return r"200 OK\n"


@row(15, "permessage-deflate", "`/echo`", "`websockets`, and bytes by hand")
async def deflate(place):
    text = "statesync " * 500
    async with connect(place.url("/echo")) as websocket:
        agreed = websocket.response.headers["Sec-WebSocket-Extensions"]
        assert agreed and "permessage-deflate" in agreed and "_window_bits=12" in agreed, f"agreed: {agreed}"
        await websocket.send(text)
        equal(await websocket.recv(), text)
    offer = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10"

    def echoed(address, *lines):
        client = RawClient(address, "/echo", *lines)
        client.send(TEXT, text.encode())
        first, _, payload = client.read_message()
        client.close()
        if first & RSV1:
            inflated = zlib.decompressobj(-10).decompress(payload + b"\x00\x00\xff\xff")
            equal(inflated.decode(), text)
        return client.head, bool(first & RSV1), len(payload)

    head, is_compressed, length = echoed(place.address, offer)
    assert "server_max_window_bits=10" in head and is_compressed and length < len(text), f"{length} bytes, {head}"
    equal(echoed(place.address)[1:], (False, len(text)))
    with place.variant(COMPRESSION__ENABLED="false") as server:
        head, is_compressed, _ = echoed(server.addresses[0], offer)
        assert "permessage-deflate" not in head and not is_compressed, head
    return f"{agreed}; {len(text)} bytes go as {length} with RSV1; not without an offer, nor if it is off"


@row(17, "Heartbeat", "`/registration`", "`websocket-client` with `ping_interval`, and a silent one")
def heartbeat(place):
    silent = RawClient(place.address, "/registration")
    pings, pongs = [], []

    def on_ping(ws, payload):
        pings.append(payload)
        finish_if_enough(ws)

    def on_pong(ws, payload):
        pongs.append(payload)
        finish_if_enough(ws)

    def finish_if_enough(ws):
        if len(pings) >= 2 and len(pongs) >= 2:
            ws.close()

    errors = []
    app = websocket.WebSocketApp(place.url("/registration"), on_ping=on_ping, on_pong=on_pong,
                                 on_error=lambda ws, error: errors.append(error))
    app.run_forever(ping_interval=1.5, ping_timeout=1.4)
    assert len(pings) >= 2 and len(pongs) >= 2, f"{len(pings)} pings, {len(pongs)} pongs, {errors}"
    opcodes = set()
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            opcodes.add(silent.read()[0] & 0x0F)
    assert PING in opcodes, f"never asked: {opcodes}"
    return "pings answered both ways; one that answers none is closed"


@row(19, "Interactive client", "`/echo`", "`python -m websockets`, `statesync connect`")
def interactive(place):
    url = place.url("/echo")
    with Program(sys.executable, "-m", "websockets", url) as client:
        client.type("hello\n")
        client.stdout.wait_for("< hello")
        client.end_input()
        equal(client.wait(), 0)
    with Program(place.statesync, "connect", url) as client:
        client.type("hello\n")
        client.stdout.wait_for("hello")
        client.end_input()
        equal(client.wait(), 0)
    with Program(place.statesync, "connect", place.url("/echo-prefix"), at_terminal=True) as client:
        client.stdout.wait_for("Connected to")
        client.type("hello\r")
        client.stdout.wait_for("server received: hello")
    return "what is typed is sent, what comes is printed, in a pipe and at a terminal"


@row(21, "Debug log", "`/echo`", "`websockets`; `RUST_LOG=statesync=trace`")
async def debug_log(place):
    async with connect(place.url("/echo"), additional_headers={"X-Walk": "row-21"}) as websocket:
        await websocket.send("seen in the log")
        await websocket.recv()
    log = place.server.stderr
    at = log.wait_for("row-21")
    at = log.wait_for("101", at)
    for part in ['< Text 15 bytes "seen in the log"', '> Text 15 bytes "seen in the log"', "< Close 1000"]:
        log.wait_for(part, at)
    handshake = next(line for line in log.text.splitlines() if "row-21" in line)
    assert "opening handshake: GET /echo" in handshake and "sec-websocket-version" in handshake.lower(), handshake
    assert TOKEN not in log.text, "the token is in the log"
    return "the opening handshake and its answer, and each frame; no token"


@row(22, "Raw RFC 6455 client", "`/echo`", "handshake and frames by hand")
def raw(place):
    client = RawClient(place.address, "/echo")
    lengths = [0, 125, 126, 65_535, 65_536]
    for text in ["hello", "大家好，计数器", "中" * 1_000, "中" * 30_000, *("a" * length for length in lengths)]:
        payload = text.encode()
        client.send(TEXT, payload)
        first, bits, answer = client.read_message()
        expected = 7 if len(payload) < 126 else 16 if len(payload) < 65_536 else 64
        equal((first, bits, len(answer)), (0x81, expected, len(payload)))
        assert answer == payload, f"other bytes came back for {text[:20]!r}"
    client.send(BINARY, b"\x00\xff")
    equal(client.read_message(), (0x82, 7, b"\x00\xff"))
    client.send(CLOSE, struct.pack("!H", 1000))
    equal(client.read_message(), (0x88, 7, struct.pack("!H", 1000)))
    client.close()
    return "lengths of 7, 16 and 64 bits both ways, Chinese text, binary, a close"


@row(23, "Several client libraries", "`/`, `/echo`", "`websockets` (asyncio, threads), `websocket-client`, Chromium")
async def libraries(place):
    async with connect(place.url("/")) as client:
        await joined(client)
        await client.send(PLUS)
        await client.send(MINUS)
    await asyncio.to_thread(synchronous_libraries, place)
    return await asyncio.to_thread(place.in_browser, "library")


def synchronous_libraries(place):
    with websockets.sync.client.connect(place.url("/echo")) as client:
        client.send("hello")
        equal(client.recv(DEADLINE_SECONDS), "hello")

    seen = []

    def on_message(ws, message):
        seen.append(json.loads(message)["type"])
        if seen.count("state") == 2:
            ws.close()

    app = websocket.WebSocketApp(place.url("/"), on_open=lambda ws: ws.send(PLUS), on_message=on_message)
    app.run_forever(ping_interval=10, ping_timeout=5)
    equal((seen[0], seen.count("state")), ("users", 2))


@row(20, "Reconnecting client", "`/`", "Chromium, `statesync connect`, `websockets`")
async def reconnecting(place):
    values, is_back = [], asyncio.Event()

    async def counting():
        # As its documentation writes a client that comes back.
        async for websocket in connect(place.url("/")):
            try:
                async for message in websocket:
                    heard = json.loads(message)
                    if heard["type"] == "state":
                        values.append(heard["value"])
                        is_back.set()
            except ConnectionClosed:
                continue

    client = asyncio.create_task(counting())
    with Program(place.statesync, "connect", place.url("/"), at_terminal=True) as terminal:
        await is_back.wait()
        before = values[-1]
        equal(await asyncio.to_thread(place.in_browser, "join"), str(before))
        await asyncio.to_thread(terminal.stdout.wait_for, '"state"')
        is_back.clear()
        place.server.kill()
        at = await asyncio.to_thread(terminal.stdout.wait_for, "rying again")
        await asyncio.to_thread(place.in_browser, "lose")
        await asyncio.to_thread(place.start_again)
        equal(await asyncio.to_thread(place.in_browser, "back"), str(before))
        at = await asyncio.to_thread(terminal.stdout.wait_for, "Connected to", at)
        await is_back.wait()
        equal(values[-1], before)
        is_back.clear()
        terminal.type(PLUS + "\r")
        await is_back.wait()
        equal(values[-1], before + 1)
        equal(await asyncio.to_thread(place.in_browser, f"press {before + 1}"), str(before + 2))
        await asyncio.to_thread(terminal.stdout.wait_for, f'"value":{before + 2}', at)
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)
    return "all three are back after kill -9 of the server, and the value is as it was"


@row(16, "Graceful shutdown", "`/`, `/echo`", "`websockets` (asyncio, threads), `websocket-client`")
async def shutdown(place):
    other = websocket.create_connection(place.url("/echo"), timeout=DEADLINE_SECONDS)
    async with connect(place.url("/")) as first:
        with websockets.sync.client.connect(place.url("/echo")) as second:
            await joined(first)
            place.server.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await first.recv()
            with contextlib.suppress(ConnectionClosed):
                await asyncio.to_thread(second.recv, DEADLINE_SECONDS)
            opcode, payload = await asyncio.to_thread(other.recv_data, True)
            while opcode == PING:
                opcode, payload = await asyncio.to_thread(other.recv_data, True)
            equal((first.close_code, second.close_code), (1001, 1001))
            equal((opcode, struct.unpack("!H", payload[:2])), (CLOSE, (1001,)))
    other.shutdown()
    equal(await asyncio.to_thread(place.server.wait), 0)
    return "1001 for each, then exit code 0"


@contextlib.contextmanager
def no_longer_than(seconds):
    def stop(*_):
        waiting = []
        with contextlib.suppress(RuntimeError):  # There is no loop: the row is no coroutine.
            frames = [frame for task in asyncio.all_tasks() for frame in task.get_stack()]
            waiting = [frame.f_lineno for frame in frames if frame.f_code.co_filename == __file__]
        raise TimeoutError(f"not done in {seconds} s, waits in line {waiting}")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def walk_row(place, walk):
    """What it saw, and whether it passed."""
    try:
        with no_longer_than(ROW_SECONDS):
            saw = walk(place)
            if asyncio.iscoroutine(saw):
                saw = asyncio.run(saw)
        return saw, "pass"
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
        lines = [frame.lineno for frame in frames[1:] if frame.name not in ("equal", "stop")]
        return "", f"FAIL: {reason[:600].replace('|', '/')} (walk.py, line {lines})"


def main():
    statesync, examples = sys.argv[1:]
    for name in os.environ.keys() - clean_environment().keys():
        del os.environ[name]
    with tempfile.TemporaryDirectory() as directory:
        place = Place(statesync, examples, directory)
        place.start_browser()
        lines = {}
        try:
            for number, system, room, client, walk in ROWS:
                began = time.monotonic()
                saw, result = walk_row(place, walk)
                lines[number] = f"| {number} | {system} | {room} | {client} | {saw} | {result} |"
                print(f"row {number}: {time.monotonic() - began:.1f} s", file=sys.stderr)
        finally:
            place.end()
    for _, line in sorted(lines.items()):
        print(line)
    failed = [line for line in lines.values() if not line.endswith("| pass |")]
    if failed:
        print("the end of the server's log:", place.server.stderr.text[-3_000:], sep="\n", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
