"""A client of the original counter, as the documentation of `websockets` writes one.

Nothing in it knows of statesync; only the URL is another. It ends with the connection.
"""

import asyncio
import json
import logging
import sys

from websockets.asyncio.client import connect


async def counter(uri):
    async with connect(uri) as websocket:
        await websocket.send(json.dumps({"action": "plus"}))
        await websocket.send(json.dumps({"action": "minus"}))
        async for message in websocket:
            event = json.loads(message)
            if event["type"] == "state":
                print("value:", event["value"], flush=True)
            elif event["type"] == "users":
                print("users:", event["count"], flush=True)
            else:
                logging.error("unsupported event: %s", event)


asyncio.run(counter(sys.argv[1]))
