"""Reads topics of Kafka as one of a consumer group: kafka.py SERVERS TOPIC GROUP DATABASE

Order by key: douane gives every record its partition key, so the events of one key are in one partition, and a partition has one
reader of the group at a time. An offset is committed when the event's effect was.
"""

import sys

from confluent_kafka import Consumer

from inbox import Inbox, note


def main(servers, topic, group, database):
    inbox = Inbox(database)
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    while True:
        record = consumer.poll(5)
        if record is None:
            continue
        if record.error():
            raise RuntimeError(record.error())
        # The structured mode. In the binary mode the attributes are `ce_` headers and the value is the data.
        inbox.once(record.value(), note)
        consumer.commit(record, asynchronous=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
