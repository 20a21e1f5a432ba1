"""A client of the original server, with Python's `websockets`: it shows its token in the header
`Authorization: TOKEN`. Prints each message, and how the connection ended.

    token_client.py URL [TOKEN]
"""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def main(url: str, token: str | None) -> None:
    headers = {"Authorization": token} if token else {}
    async with connect(url, additional_headers=headers) as ws:
        try:
            for _ in range(2):
                print(await ws.recv(), flush=True)
        except ConnectionClosed as closed:
            print(f"closed with {closed.rcvd.code}", flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
