"""What was said between a test client and the server, and how a failure is told.

A failure names what was expected, what came instead, and the whole
conversation with its times, so that nobody has to run it again to understand.
"""

import argparse
import json
import sys
import time
import traceback

PLUS = '{"action":"plus"}'
MINUS = '{"action":"minus"}'

# What an echo room must give back: short, longer than 16 bits of length, not ASCII, empty, binary.
ECHO_MESSAGES = ["hello", "a" * 70_000, "计数器，大家一起数。👍", "", b"\x00\xff\x80binary", bytes(range(256)) * 256]

SHOWN_CHARACTERS = 200
SHOWN_LINES = 60


class Failed(Exception):
    """The server did something else than expected."""


def users(count):
    return json.dumps({"type": "users", "count": count}, separators=(",", ":"))


def state(value):
    return json.dumps({"type": "state", "value": value}, separators=(",", ":"))


def shown(message):
    text = message if isinstance(message, str) else repr(message)
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}... ({len(message)} in all)"


class Conversation:
    def __init__(self, deadline_seconds):
        self.deadline_seconds = deadline_seconds
        self.started = time.monotonic()
        self.lines = []

    def seconds(self):
        return time.monotonic() - self.started

    def note(self, client, what):
        self.lines.append(f"{self.seconds():8.3f} s  {client}: {what}")

    def failure(self, client, expected, got):
        """The exception to raise; `got` says what came, or that nothing did."""
        told = self.lines[-SHOWN_LINES:]
        if len(told) < len(self.lines):
            told.insert(0, f"      ... {len(self.lines) - len(told)} lines before")
        return Failed("\n".join([
            f"  expected: {client}: {expected}",
            f"  got:      {got}",
            f"  when:     {self.seconds():.3f} s after the start",
            "  conversation:",
            *(f"  {line}" for line in told),
        ]))

    def nothing(self):
        return f"nothing for {self.deadline_seconds:g} s"

    def check(self, client, condition, expected, got):
        if not condition:
            raise self.failure(client, expected, got)

    def check_error_event(self, client, text, codes):
        """An `error` event: one of these codes (any if there are none) and a message for people."""
        expected = f"an error event with a message and the code {' or '.join(codes) or '(any)'}"
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        good = (
            isinstance(text, str) and isinstance(event, dict) and event.get("type") == "error"
            and isinstance(event.get("code"), str) and (not codes or event["code"] in codes)
            and isinstance(event.get("message"), str) and event["message"]
        )
        self.check(client, good, expected, shown(text))


class Presence:
    """The last count that a client saw.

    Counts are paced: who joined while one was waiting to be told is told it
    again with all others. A count that comes again is no news, and no fault.
    """

    def __init__(self):
        self.last = None

    def is_repeated(self, message):
        if not isinstance(message, str) or not message.startswith('{"type":"users"'):
            return False
        is_repeated = message == self.last
        self.last = message
        return is_repeated


class Arrival:
    """What the first client of a room sees until it is alone there: `users` first, then the state.

    Whoever was in the room before may be counted out only now.
    """

    expected = "users, then the state, and a count of 1 in a room that nobody else uses"

    def __init__(self, client):
        self.client = client
        self.count = None
        self.value = None

    def is_alone(self):
        return self.count == 1 and self.value is not None

    def add(self, text):
        event = json.loads(text)
        self.client.check(self.count is not None or event.get("type") == "users", self.expected, shown(text))
        if event["type"] == "state":
            self.value = event["value"]
        else:
            self.count = event["count"]


class Run:
    """One scenario's run: where the server is, the conversation so far, and who takes part in it."""

    def __init__(self, options):
        self.url = options.url
        self.echo_url = options.echo_url
        self.conversation = Conversation(options.deadline)
        self.clients = []


def perform(library, name, scenario, options):
    """Runs one scenario; True if it went as it should."""
    run = Run(options)
    try:
        scenario(run)
    except Failed as failure:
        print(f"FAILED {name} ({library}, {options.url})\n{failure}", file=sys.stderr)
        return False
    except Exception as error:
        traceback.print_exc()
        failure = run.conversation.failure(
            "the client library", "no error", f"{type(error).__name__}: {error}")
        print(f"FAILED {name} ({library}, {options.url})\n{failure}", file=sys.stderr)
        return False
    print(f"ok {name} ({library}, {run.conversation.seconds():.2f} s)", flush=True)
    return True


def main(library, scenarios, unlisted=(), description=None):
    """The command line of a test client. `unlisted` scenarios need help from outside to end."""
    listed = [name for name in scenarios if name not in unlisted]
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios: " + ", ".join(scenarios) + "\n'all' runs all that --list prints, one after the other")
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios that end by themselves")
    parser.add_argument("--deadline", type=float, default=10, metavar="SECONDS", help="for each wait (default: 10)")
    parser.add_argument("scenario", nargs="?", choices=["all", *scenarios], metavar="SCENARIO")
    parser.add_argument("url", nargs="?", metavar="URL", help="a counter room that nobody else uses meanwhile")
    parser.add_argument("echo_url", nargs="?", metavar="ECHO_URL", help="an echo room with the template {message} and a max_message of 128KiB")
    options = parser.parse_args()
    if options.list:
        print("\n".join(listed))
        return
    if not options.url:
        parser.error("SCENARIO and URL are needed")
    names = listed if options.scenario == "all" else [options.scenario]
    results = [perform(library, name, scenarios[name], options) for name in names]
    sys.exit(0 if all(results) else 1)
