#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""An example client of statesync: each action is counted exactly once.

    pip install websockets
    python client.py ws://127.0.0.1:6789/ --state me.json plus minus plus:5
    python client.py ws://127.0.0.1:6789/ --state me.json

The first form sends actions, prints what became of each, and the value; its exit code is 0 if all
were applied. The second prints states as they come. Both first finish what an earlier run with
the same state file has left undone, however that run ended. That file is an identity, and a secret:
never copy it.

For Python 3.11 or later, on Unix. "Rule" means "The client's rules" in docs/protocol.md.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import random
import secrets
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.typing import Subprotocol

PROTOCOL = Subprotocol("statesync.v1")
APPLIED, REFUSED, UNKNOWN = "applied", "refused", "unknown"  # the outcomes of an action


class GivenUp(Exception):
    """The server has sent us away, or our file cannot be used. Coming back would not help."""


class BeginAnew(Exception):
    """This identity is of no more use. The arguments are the actions that are now unknown."""


@dataclass(eq=False)
class Action:
    """An action without an outcome."""

    message: dict[str, Any]  # has an "id" from just before it is first sent
    outcome: asyncio.Future[str]

    @property
    def number(self) -> int | None:
        return self.message.get("id")


@dataclass
class Identity:
    """Who we are, and what we know of that: kept in the file, with the actions (rule 1)."""

    client: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    room: str = ""  # this, `epoch` and `seq` are of the last welcome before number 1
    epoch: str = ""
    seq: int = 0
    next_number: int = 1
    last_decided: int = 0


class Client:
    """One identity in one room, and its actions, kept in a file.

    Create it in a running event loop, call `act` whenever you like, and keep `run` running.
    Any of them may raise GivenUp, and that is its end.
    """

    def __init__(self, url: str, file: Path):
        self.url, self.file = url, file
        self.on_state: Callable[[int], None] = lambda value: None
        self.me = Identity()
        self.actions: list[Action] = []  # undecided, in order; those with a number come first
        self.value: int | None = None
        self.confirmed = asyncio.Event()  # `value` has in it all that was applied
        self.something_to_send = asyncio.Event()

        self._lock_and_load()

    def act(self, action: str, by: int = 1) -> asyncio.Future[str]:
        """Keep an action (this waits for the disk), and have it sent.

        The result becomes "applied", "refused: why", or "unknown": it may have been applied.
        """
        new = Action({"action": action, "by": by}, asyncio.get_running_loop().create_future())
        self.actions.append(new)
        self._save()
        self.something_to_send.set()
        return new.outcome

    async def run(self) -> None:
        """Connect, and come back whenever the connection is lost."""
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            connected, retry_after = float("inf"), 0
            try:
                async with connect(
                    f"{self.url}{'&' if '?' in self.url else '?'}client={self.me.client}",
                    subprotocols=[PROTOCOL],
                    ping_interval=None,  # `_take` does it, as often as the server wants it
                    close_timeout=1,
                ) as ws:
                    connected = clock()
                    if ws.subprotocol != PROTOCOL:
                        raise GivenUp("this room does not speak " + PROTOCOL)
                    await self._welcomed(ws)
                    await self._converse(ws)
            except BeginAnew as reason:
                self._begin_anew(unknown=list(reason.args))
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                # We hold the lock, so 4409 is for an attempt of our own that came late (rule 8).
                refused = 4400 <= code <= 4499 and code != 4409
                if refused or code in (1000, 1002, 1003, 1007, 1008, 1009):
                    raise GivenUp(f"closed by the server: {closed.rcvd}") from None
            except InvalidStatus as answer:
                status, body = answer.response.status_code, answer.response.body or b""
                if status < 500 and status != 429:
                    raise GivenUp(f"HTTP {status}: {body.decode(errors='replace')}") from None
                with contextlib.suppress(ValueError):
                    retry_after = int(answer.response.headers.get("Retry-After", "0"))
            except InvalidURI as wrong:
                raise GivenUp(str(wrong)) from None
            except (OSError, WebSocketException):
                pass  # no server, cut off, or dead: come back
            self.confirmed.clear()
            if clock() - connected > 5:
                failures = 0
            await asyncio.sleep(retry_after + random.uniform(0, min(30, 2**failures)))
            failures = min(failures + 1, 5)

    async def _welcomed(self, ws: ClientConnection) -> None:
        """Take the welcome: rules 4, 6 and 9."""
        async with asyncio.timeout(30):
            welcome = json.loads(await ws.recv())
        me, last = self.me, welcome["last_id"] or 0
        if welcome["kind"] != "counter" or me.room not in ("", welcome["room"]):
            raise GivenUp(f"{welcome['room']} is not the room that {self.file} is for")
        if me.next_number == 1:  # nothing was sent yet, so this is as good as the first welcome
            me.room, me.epoch, me.seq = welcome["room"], welcome["epoch"], welcome["seq"]
        is_later = welcome["epoch"] == me.epoch and welcome["seq"] >= me.seq
        forgotten = not is_later or welcome["forgotten_until"] > me.seq
        if last >= me.next_number:  # somebody else has used our identity: rule 9
            raise BeginAnew(*self.actions)
        if welcome["last_id"] is None and forgotten or last < me.last_decided:  # rules 6 and 9
            raise BeginAnew(*[action for action in self.actions if action.number is not None])
        for action in list(self.actions):
            if action.number is not None and action.number <= last:
                outcome = REFUSED if action.number in welcome["refused"] else APPLIED
                self._decide(action.number, outcome)
        # What belongs to this connection.
        self.max_in_flight = welcome["max_in_flight"]
        self.heartbeat = welcome["heartbeat_ms"] / 1000
        self.in_flight: set[int] = set()  # numbers that were sent and have no answer yet
        self.must_resend, self.retries = False, 0  # rule 5
        self.ack_seq, self.state_seq = 0, -1  # the newest
        self.something_to_send.set()

    async def _converse(self, ws: ClientConnection) -> None:
        """Send and take messages until the connection ends, or has to."""
        tasks = [asyncio.create_task(self._send(ws)), asyncio.create_task(self._take(ws))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what the task has raised
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, ws: ClientConnection) -> None:
        """Send what is undecided, in order, a limited number at a time: rules 1, 2 and 5."""
        while True:
            await self.something_to_send.wait()
            self.something_to_send.clear()
            if self.must_resend:
                if self.in_flight:
                    continue  # until all are answered
                await asyncio.sleep(min(30, 0.1 * 2**self.retries))
                self.retries += 1
                self.must_resend = False
            window = self.actions[: self.max_in_flight]
            new = [action for action in window if action.number is None]
            for action in new:
                action.message["id"] = self.me.next_number
                self.me.next_number += 1
            if new:
                self._save()  # before they are sent: a number on disk means "may have been sent"
            unsent = [action.message for action in window if action.number not in self.in_flight]
            self.in_flight.update(message["id"] for message in unsent)
            for message in unsent:
                await ws.send(json.dumps(message))

    async def _take(self, ws: ClientConnection) -> None:
        """Take messages. Returns if the connection is dead."""
        pong: asyncio.Future[float] | None = None
        while True:
            try:
                async with asyncio.timeout(self.heartbeat):
                    message = json.loads(await ws.recv())
            except TimeoutError:
                if pong and not pong.done():
                    return  # the ping was a heartbeat ago: dead
                pong = asyncio.ensure_future(await ws.ping())
                continue
            if "id" in message:  # an answer
                self.in_flight.discard(message["id"])
                self.something_to_send.set()
            match message["type"]:
                case "state":
                    self.state_seq, self.value = message["seq"], message["value"]
                    self.on_state(message["value"])
                case "ack":
                    self.ack_seq, self.retries = message["seq"], 0
                    self._decide(message["id"], APPLIED)
                case "error" if "id" not in message:
                    raise GivenUp(f"the server did not understand us: {message}")
                case "error" if message["code"] == "forgotten":
                    # All before this one were answered, and none of the rest was applied (rule 7).
                    raise BeginAnew()
                case "error" if message["retry"]:
                    self.must_resend = True
                case "error" if message["code"] == "id_too_old":
                    self._decide(message["id"], UNKNOWN)
                case "error":
                    self._decide(message["id"], f"{REFUSED}: {message['code']}")
            self.confirmed.clear()
            if self.state_seq >= self.ack_seq:
                self.confirmed.set()

    def _decide(self, number: int, outcome: str) -> None:
        """Forget a decided action (rule 3), and tell its outcome."""
        self.me.last_decided = max(self.me.last_decided, number)
        self._forget([action for action in self.actions if action.number == number], outcome)

    def _forget(self, actions: list[Action], outcome: str) -> None:
        self.actions = [action for action in self.actions if action not in actions]
        self._save()
        for action in actions:
            if not action.outcome.done():  # it is done if the caller has cancelled it
                action.outcome.set_result(outcome)

    def _begin_anew(self, unknown: list[Action]) -> None:
        """Take a new identity (rules 6, 7 and 9). `_send` must have ended."""
        self.me = Identity(room=self.me.room)
        for action in self.actions:
            action.message.pop("id", None)
        self._forget(unknown, UNKNOWN)

    def _lock_and_load(self) -> None:
        try:
            self._lock = open(f"{self.file}.lock", "w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # rule 8; until we end
        except OSError as error:
            raise GivenUp(f"cannot lock {self.file}, is it in use? ({error})") from None
        if not self.file.exists():
            return self._save()
        kept = json.loads(self.file.read_text())
        loop = asyncio.get_running_loop()
        self.actions = [Action(message, loop.create_future()) for message in kept.pop("actions")]
        self.me = Identity(**kept)

    def _save(self) -> None:
        """Replace the file as a whole; it is on the disk when this returns."""
        kept = {**asdict(self.me), "actions": [action.message for action in self.actions]}
        temporary = Path(f"{self.file}.new")
        try:
            # The identity is a secret: nobody else may read it.
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                json.dump(kept, out)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(self.file)
            directory = os.open(self.file.parent, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        except OSError as error:
            raise GivenUp(f"cannot keep anything in {self.file}: {error}") from None


def parse_action(text: str) -> tuple[str, int]:
    name, _, by = text.partition(":")
    if name not in ("plus", "minus") or by and not 1 <= int(by) < 2**63:
        raise ValueError
    return name, int(by or 1)


async def main() -> int:
    parser = argparse.ArgumentParser(description="Send actions to a counter, or watch it.")
    parser.add_argument("url", help="such as ws://127.0.0.1:6789/")
    parser.add_argument("--state", type=Path, required=True, metavar="FILE")
    parser.add_argument("actions", nargs="*", type=parse_action, help="plus, minus, plus:5 ...")
    args = parser.parse_intermixed_args()

    all_applied = True
    try:
        client = Client(args.url, args.state)
        if not args.actions:
            client.on_state = lambda value: print(value, flush=True)
        for name, by in args.actions:
            client.act(name, by)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(client.run())
            for action in list(client.actions):  # with those of earlier runs
                outcome = await action.outcome
                print(f"{action.message['action']} {action.message['by']}: {outcome}", flush=True)
                all_applied &= outcome == APPLIED
            if args.actions:
                await client.confirmed.wait()
                print(f"value: {client.value}")
                running.cancel()
    except* GivenUp as reasons:
        all_applied = False
        print(f"given up: {reasons.exceptions[0]}; what is undecided is kept", file=sys.stderr)
    return 0 if all_applied else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main()))
