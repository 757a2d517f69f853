"""A nats-py service that answers at once: what everything is compared with.

python -m bench.echo URL
"""

from __future__ import annotations

import asyncio
import sys

import nats
import uvloop
from nats.micro import add_service
from nats.micro.request import Request

SUBJECT = "bench.echo"


async def main(url: str) -> None:
    """Answer for ever."""
    client = await nats.connect(url)
    service = await add_service(client, name="echo", version="1.0.0")

    async def echo(request: Request) -> None:
        await request.respond(b'{"accepted":true}')

    await service.add_endpoint(name="echo", subject=SUBJECT, handler=echo)
    await client.flush()
    print("echoing", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
