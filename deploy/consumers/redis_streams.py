"""Reads a stream of Redis as one of a consumer group: redis_streams.py URL STREAM GROUP DATABASE

Order by key: Redis hands the entries of a stream to whoever of the group asks, so a stream has one reader at a time. Shard the
broker (`stream = "events.{shard}"`) and run one of these for each shard; all shards may be of one group.
"""

import sys

import redis

from inbox import Inbox, note


def main(url, stream, group, database):
    client, inbox = redis.Redis.from_url(url), Inbox(database)
    try:
        client.xgroup_create(stream, group, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    # First what this reader was given and did not acknowledge before it ended, then what is new.
    after = "0"
    while True:
        answer = client.xreadgroup(group, "reader", {stream: after}, count=100, block=5_000)
        entries = answer[0][1] if answer else []
        for entry, fields in entries:
            # An entry that was trimmed away meanwhile has no fields.
            if fields:
                inbox.once(fields[b"event"], note)
            client.xack(stream, group, entry)
        if after == "0" and not entries:
            after = ">"


if __name__ == "__main__":
    main(*sys.argv[1:])
