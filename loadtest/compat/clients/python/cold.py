"""kafka-python on records that lie in the object store: `write` makes them, `read` finds some by offset and by timestamp, and reads all.

Record `i` has offset `i`, timestamp `BASE_MS + 1000 * i`, and a value that begins with `i`.
"""

import random
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

BASE_MS = 1_600_000_000_000
VALUE_BYTES = 8 << 10


def write(bootstrap, topic, count):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", batch_size=64 << 10, linger_ms=5)
    noise = random.Random(1).randbytes(VALUE_BYTES)
    sent = []
    for i in range(count):
        value = f"{i}:".encode() + noise
        sent.append(producer.send(topic, value=value, partition=0, timestamp_ms=BASE_MS + 1000 * i))
    producer.flush()
    for i, future in enumerate(sent):
        assert future.get().offset == i


def check(record, offset):
    assert record.offset == offset, (record.offset, offset)
    assert record.timestamp == BASE_MS + 1000 * offset, record
    assert record.value.startswith(f"{offset}:".encode()), record.value[:20]


def read(bootstrap, topic, count):
    partition = TopicPartition(topic, 0)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    consumer.assign([partition])
    for offset in [0, 1, count // 7, count // 2, count - 1]:
        consumer.seek(partition, offset)
        check(next(consumer), offset)
        # Between two timestamps the later record is meant.
        for ms in [BASE_MS + 1000 * offset, BASE_MS + 1000 * offset - 999]:
            found = consumer.offsets_for_times({partition: ms})[partition]
            assert (found.offset, found.timestamp) == (offset, BASE_MS + 1000 * offset), (ms, found)
    assert consumer.offsets_for_times({partition: BASE_MS + 1000 * count})[partition] is None
    consumer.seek_to_beginning(partition)
    for offset in range(count):
        check(next(consumer), offset)


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]))
