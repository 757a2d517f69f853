"""A backend's agent that takes it over, measures it, and does nothing else.

python -m bench.mute URL
"""

from __future__ import annotations

import asyncio
import sys

import nats
from nats.aio.client import Client
from nats.errors import Error

from bench.bed import MUTE, endless, signed

EVERY = 2.0  # seconds
ABOUT = {"name": MUTE, "host": "bench", "holder": "bench"}


async def main(url: str) -> None:
    """Tell for ever that there is room."""
    client = await nats.connect(url)
    while True:
        subject, body, headers = signed("agent.take_lease", ABOUT)
        try:
            await client.request(subject, body, headers=headers)
        except (Error, TimeoutError):
            await asyncio.sleep(0.05)
        else:
            break
    await tell(client)
    print("measured", flush=True)
    while True:
        await asyncio.sleep(EVERY)
        await tell(client)


async def tell(client: Client) -> None:
    subject, body, headers = signed(f"agents.{MUTE}.measured", endless())
    await client.publish(subject, body, headers=headers)
    await client.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
