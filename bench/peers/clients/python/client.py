"""The client of the Python package `ably`: `client.py <receive|publish|connect|memory> <msgpack|json> <port> <count>`.

Prints the figures as one line of JSON.
"""

import asyncio
import gc
import json
import sys
import time

from ably import AblyRealtime

IN_FLIGHT = 1024
WARM_UP = 2_000

figure, format, port, count = sys.argv[1:]
count = int(count)


async def connect():
    client = AblyRealtime(
        key="appIdX.keyId:keySecret",
        endpoint=f"127.0.0.1:{port}",
        tls=False,
        use_binary_protocol=format == "msgpack",
    )
    await client.connection.once_async("connected")
    return client


async def measure(work):
    """Runs the work with a short warm-up before, and measures the second run."""
    await work(WARM_UP)
    start, cpu = time.perf_counter(), time.process_time()
    await work(count)
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}


async def receive():
    client = await connect()
    seen, size, expected, done = 0, 0, 0, None

    def on_message(message):
        nonlocal seen, size
        size += len(message.data)
        seen += 1
        if seen == expected:
            done.set()

    await client.channels.get("prices").subscribe(on_message)

    async def work(messages):
        nonlocal seen, size, expected, done
        seen, size, expected, done = 0, 0, messages, asyncio.Event()
        await client.channels.get(f"go:{messages}").attach()
        await done.wait()
        assert size == messages * 100

    return await measure(work)


async def publish():
    client = await connect()
    channel = client.channels.get("prices")
    await channel.attach()
    data = "x" * 100

    async def work(messages):
        left = messages

        async def publisher():
            nonlocal left
            while left > 0:
                left -= 1
                await channel.publish("tick", data)

        await asyncio.gather(*(publisher() for _ in range(IN_FLIGHT)))

    return await measure(work)


async def connecting():
    times = []
    for _ in range(count):
        start = time.perf_counter()
        client = await connect()
        await client.channels.get("prices").attach()
        times.append(time.perf_counter() - start)
        await client.close()
    return {"p50": sorted(times)[count // 2]}


async def memory():
    client = await connect()
    await client.channels.get("prices").subscribe(lambda message: None)
    idle, own = memory_of("VmRSS"), memory_of("RssAnon")
    for number in range(count):
        await client.channels.get(f"channel:{number}").attach()
    return {"idle": idle, "own": own, "channel": (memory_of("VmRSS") - idle) // count}


def memory_of(field):
    """Bytes of memory, by the name of a field of /proc. The collector runs before, so that garbage does not count."""
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


figures = {"receive": receive, "publish": publish, "connect": connecting, "memory": memory}
print(json.dumps(asyncio.run(figures[figure]())))
