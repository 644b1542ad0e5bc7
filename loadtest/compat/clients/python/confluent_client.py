"""confluent-kafka (librdkafka) through the scenario of ../README.md: idempotent producers, cooperative rebalancing."""

import sys

from confluent_kafka import Consumer, KafkaException, Producer

from common import DEADLINE_S, PER_CODEC, Member, scenario

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class ConfluentMember(Member):
    def poll_once(self):
        message = self.consumer.poll(0.2)
        if message is None:
            return
        if message.error():
            raise KafkaException(message.error())
        self.take(message.value(), message.headers())
        self.consumer.commit(message=message, asynchronous=False)


def main(bootstrap, topic, group):
    def member(seen):
        consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
        })
        consumer.subscribe([topic])
        made = ConfluentMember(consumer, seen)
        made.start()
        return made

    def producer_for(codec):
        return Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": codec})

    def produce(producer, codec):
        failed, acked = [], []

        def delivered(error, message):
            (failed if error else acked).append(error or message.offset())

        for i in range(PER_CODEC):
            producer.produce(
                topic, key=f"key-{i}", value=f"{codec}-{i}", headers={"codec": codec}, on_delivery=delivered
            )
        pending = producer.flush(DEADLINE_S)
        if failed or pending or len(acked) != PER_CODEC:
            sys.exit(f"produce with {codec}: {len(acked)} acked, {pending} pending, failed: {failed[:3]}")

    scenario(CODECS, member, producer_for, produce)


if __name__ == "__main__":
    main(*sys.argv[1:])
