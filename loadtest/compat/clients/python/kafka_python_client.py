"""kafka-python through the scenario of ../README.md."""

import sys

from kafka import KafkaConsumer, KafkaProducer

from common import DEADLINE_S, PER_CODEC, Member, scenario

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class KafkaPythonMember(Member):
    def poll_once(self):
        polled = self.consumer.poll(timeout_ms=200)
        for records in polled.values():
            for record in records:
                self.take(record.value, record.headers)
        if polled:
            self.consumer.commit()


def main(bootstrap, topic, group):
    def member(seen):
        consumer = KafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=50,
        )
        made = KafkaPythonMember(consumer, seen)
        made.start()
        return made

    def producer_for(codec):
        return KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            compression_type=None if codec == "none" else codec,
            retries=50,
            retry_backoff_ms=100,
        )

    def produce(producer, codec):
        sent = [
            producer.send(
                topic,
                key=f"key-{i}".encode(),
                value=f"{codec}-{i}".encode(),
                headers=[("codec", codec.encode())],
            )
            for i in range(PER_CODEC)
        ]
        producer.flush()
        for future in sent:
            future.get(timeout=DEADLINE_S)

    scenario(CODECS, member, producer_for, produce)


if __name__ == "__main__":
    main(*sys.argv[1:])
