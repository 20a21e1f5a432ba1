#!/usr/bin/env python3
"""Tests statesync with the Python library `websocket-client`.

    websocket_client_client.py SCENARIO URL [ECHO_URL]
    websocket_client_client.py --list

No scenario asks for a subprotocol that the server does not know: this library
refuses the correct answer to that itself.
`keepalive` takes somewhat more than ten seconds, the interval of the pings.
`shutdown` prints `connected`, then waits for the server to be stopped and to
close the connection with 1001.
"""

import queue
import socket
import struct
import threading

import websocket
from websocket import ABNF

from conversation import ECHO_MESSAGES, MINUS, PLUS, Arrival, Presence, main, shown, state, users

PING_INTERVAL_SECONDS = 10
PING_TIMEOUT_SECONDS = 5


class Client:
    """One connection; everything on it is noted in the conversation."""

    def __init__(self, run, name):
        self.conversation = run.conversation
        self.name = name
        self.websocket = None
        self.presence = Presence()
        run.clients.append(self)

    def open(self, url):
        self.conversation.note(self.name, f"connects to {url}")
        try:
            # No proxy: the server is on this machine, whatever the environment says.
            self.websocket = websocket.create_connection(
                url, timeout=self.conversation.deadline_seconds, http_no_proxy=["*"])
        except (websocket.WebSocketException, OSError) as error:
            raise self.failure("to be let in", f"{type(error).__name__}: {error}") from None
        return self

    def failure(self, expected, got):
        return self.conversation.failure(self.name, expected, got)

    def check(self, condition, expected, got):
        self.conversation.check(self.name, condition, expected, got)

    def send(self, message):
        self.conversation.note(self.name, f"sends {shown(message)}")
        opcode = ABNF.OPCODE_TEXT if isinstance(message, str) else ABNF.OPCODE_BINARY
        self.websocket.send(message, opcode)

    def receive_frame(self, expected):
        """The opcode and data of what comes next, control frames included."""
        try:
            opcode, data = self.websocket.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            raise self.failure(expected, self.conversation.nothing()) from None
        except (websocket.WebSocketException, OSError) as error:
            raise self.failure(expected, f"the end of the connection: {error}") from None
        self.conversation.note(self.name, f"receives {ABNF.OPCODE_MAP[opcode]} {shown(data)}")
        return opcode, data

    def receive(self, expected):
        """The next message, text as str and binary as bytes; repeated counts are passed over."""
        while True:
            opcode, data = self.receive_frame(expected)
            if opcode == ABNF.OPCODE_BINARY:
                return data
            if opcode == ABNF.OPCODE_TEXT and not self.presence.is_repeated(data.decode()):
                return data.decode()
            self.check(opcode != ABNF.OPCODE_CLOSE, expected, f"a close frame: {data!r}")

    def expect(self, *messages):
        """Exactly these messages come next, as text or bytes as given."""
        for message in messages:
            got = self.receive(shown(message))
            self.check(got == message, shown(message), shown(got))

    def expect_error(self, *codes):
        self.conversation.check_error_event(self.name, self.receive("an error event"), codes)

    def close(self):
        """The closing handshake: the server answers with 1000."""
        self.conversation.note(self.name, "closes with 1000")
        self.websocket.send_close()
        self.expect_close(1000)
        self.websocket.shutdown()

    def expect_close(self, code):
        expected = f"a close frame with {code}"
        opcode, data = self.receive_frame(expected)
        # What was on its way before the close frame is no concern of the closing handshake.
        while opcode != ABNF.OPCODE_CLOSE:
            opcode, data = self.receive_frame(expected)
        self.check(data[:2] == struct.pack("!H", code), expected, f"a close frame with {data!r}")

    def cut(self):
        """Ends the connection with a reset, as a crash does."""
        self.conversation.note(self.name, "cuts the connection (RST)")
        self.websocket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.websocket.shutdown()

    def drop(self):
        if self.websocket:
            self.websocket.shutdown()


def join_empty_room(run):
    """A client that is alone in the room, and the room's value."""
    client = Client(run, "first").open(run.url)
    arrival = Arrival(client)
    while not arrival.is_alone():
        arrival.add(client.receive(arrival.expected))
    return client, arrival.value


def join(run, name, others, value):
    """One more client; it and all others see exactly what they should."""
    client = Client(run, name).open(run.url)
    client.expect(users(len(others) + 1), state(value))
    for other in others:
        other.expect(users(len(others) + 1))
    return client


def join_order(run):
    first, value = join_empty_room(run)
    second = join(run, "second", [first], value)
    second.close()
    first.expect(users(1))
    # Had there been one more event for the first, it would come before this.
    first.send(PLUS)
    first.expect(state(value + 1))
    first.close()


def actions(run):
    first, value = join_empty_room(run)
    second = join(run, "second", [first], value)
    for sender, message, change in [
        (first, PLUS, 1),
        (second, MINUS, -1),
        (first, MINUS.encode(), -1),
        (second, PLUS.encode(), 1),
    ]:
        value += change
        sender.send(message)
        first.expect(state(value))
        second.expect(state(value))
    first.close()
    second.close()


def bad_input(run):
    first, value = join_empty_room(run)
    second = join(run, "second", [first], value)
    for message, code in [('{"action":"multiply"}', "unknown_action"), ("{", "bad_json"), (b"\xff", "bad_json")]:
        first.send(message)
        first.expect_error(code)
    first.send(PLUS)
    first.expect(state(value + 1))
    second.expect(state(value + 1))
    first.close()
    second.close()


def ping(run):
    client, value = join_empty_room(run)
    for payload in [b"", b"are you there", bytes(125)]:
        run.conversation.note("first", f"pings with {payload!r}")
        client.websocket.ping(payload)
        opcode, data = client.receive_frame(f"a pong with {payload!r}")
        while opcode == ABNF.OPCODE_PING:
            opcode, data = client.receive_frame(f"a pong with {payload!r}")
        client.check(opcode == ABNF.OPCODE_PONG and data == payload, f"a pong with {payload!r}",
                     f"{ABNF.OPCODE_MAP[opcode]} {data!r}")
    client.send(PLUS)
    client.expect(state(value + 1))
    client.close()


class App:
    """A WebSocketApp in a thread of its own; what it calls back comes out of `next`."""

    def __init__(self, run):
        self.conversation = run.conversation
        self.calls = queue.SimpleQueue()
        self.presence = Presence()
        run.clients.append(self)
        self.app = websocket.WebSocketApp(
            run.url,
            on_open=lambda app: self.called("open", None),
            on_message=lambda app, message: self.called("message", message),
            on_pong=lambda app, data: self.called("pong", None),
            on_error=lambda app, error: self.called("error", f"{type(error).__name__}: {error}"),
            on_close=lambda app, code, reason: self.called("close", code),
        )
        self.thread = threading.Thread(target=self.run_forever, daemon=True)
        self.thread.start()

    def run_forever(self):
        self.app.run_forever(
            ping_interval=PING_INTERVAL_SECONDS, ping_timeout=PING_TIMEOUT_SECONDS, http_no_proxy=["*"])

    def called(self, what, data):
        self.conversation.note("app", f"on_{what} {data if data is not None else ''}")
        if not self.presence.is_repeated(data):
            self.calls.put((what, data))

    def drop(self):
        self.app.close()

    def expect(self, *call, within_seconds=0):
        seconds = self.conversation.deadline_seconds + within_seconds
        try:
            got = self.calls.get(timeout=seconds)
        except queue.Empty:
            raise self.conversation.failure("app", f"on_{call}", f"nothing for {seconds:g} s") from None
        self.conversation.check("app", got == call, f"on_{call}", f"on_{got}")


def keepalive(run):
    """run_forever as its documentation has it: the server answers the library's pings."""
    first, value = join_empty_room(run)
    app = App(run)
    app.expect("open", None)
    app.expect("message", users(2))
    app.expect("message", state(value))
    first.expect(users(2))
    app.expect("pong", None, within_seconds=PING_INTERVAL_SECONDS)
    app.app.send(PLUS)
    app.expect("message", state(value + 1))
    first.expect(state(value + 1))
    app.app.close()
    first.expect(users(1))
    # The library notices its own close after up to one ping timeout.
    app.thread.join(run.conversation.deadline_seconds + PING_TIMEOUT_SECONDS)
    run.conversation.check("app", not app.thread.is_alive(), "run_forever to end after close", "it still runs")
    first.close()


def clean_close(run):
    first, value = join_empty_room(run)
    second = join(run, "second", [first], value)
    second.close()
    first.expect(users(1))
    first.close()


def abrupt_end(run):
    """A client that is gone without a word is counted out, once."""
    first, value = join_empty_room(run)
    second = join(run, "second", [first], value)
    second.cut()
    first.expect(users(1))
    third = join(run, "third", [first], value)
    third.close()
    first.expect(users(1))
    first.close()


def echo(run):
    client = Client(run, "client")
    client.check(run.echo_url, "the ECHO_URL argument", "none")
    client.open(run.echo_url)
    for message in ECHO_MESSAGES:
        client.send(message)
        client.expect(message)
    client.close()


def shutdown(run):
    client, _ = join_empty_room(run)
    print("connected", flush=True)
    # The server is stopped by whoever started this; that may take a while.
    run.conversation.deadline_seconds = max(run.conversation.deadline_seconds, 60)
    client.websocket.settimeout(run.conversation.deadline_seconds)
    client.expect_close(1001)
    print("closed with 1001", flush=True)


SCENARIOS = [join_order, actions, bad_input, ping, keepalive, clean_close, abrupt_end, echo, shutdown]


def leaving_nobody_behind(scenario):
    def perform(run):
        try:
            scenario(run)
        finally:
            # After a failure nobody may be left in the room for the next scenario to trip over.
            for client in run.clients:
                client.drop()

    return perform


if __name__ == "__main__":
    main(f"websocket-client {websocket.__version__}",
         {scenario.__name__: leaving_nobody_behind(scenario) for scenario in SCENARIOS},
         unlisted=["shutdown"], description=__doc__)
