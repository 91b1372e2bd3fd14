"""Reads a stream of NATS JetStream by a durable consumer: nats_jetstream.py URL STREAM CONSUMER DATABASE

Order by key: with `max_ack_pending = 1` the next event comes when this one was acknowledged, however many readers share the
consumer. To go faster, give each part of the subjects (`events.payments.>`) a consumer of its own.
"""

import asyncio
import sys

import nats
from nats.js.api import AckPolicy, ConsumerConfig

from inbox import Inbox, note


async def main(url, stream, consumer, database):
    connection, inbox = await nats.connect(url), Inbox(database)
    jetstream = connection.jetstream()
    settings = ConsumerConfig(durable_name=consumer, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=1)
    await jetstream.add_consumer(stream, settings)
    reader = await jetstream.pull_subscribe_bind(consumer, stream)
    while True:
        try:
            messages = await reader.fetch(1, timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            inbox.once(message.data, note)
            await message.ack()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
