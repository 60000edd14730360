"""The reference: aiohttp's web.Application on uvloop; reads the body, answers."""

import asyncio
import sys

import uvloop
from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"message": "thank you"})


async def serve(port: int) -> None:
    application = web.Application()
    application.router.add_post("/hook/{flow_id}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(serve(int(sys.argv[1])))
