"""Load for the crash test, and its checker.

Four idempotent producers write to every partition while the server is killed again and again; a group member reads and
commits. A line on standard input ends the load. Then everything is read back and checked:

- nothing acked is lost: each acked record stands at the offset its ack named;
- nothing is duplicated: every value stands once in the log;
- order: a producer's values in one partition grow by the order they were sent;
- density: the offsets of a partition are 0, 1, 2, … without a gap;
- committed offsets are kept: the group's offsets are at least those of its last acked commit.
"""

import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from common import DEADLINE_S

PRODUCERS = 4
PARTITIONS = 4
# Makes extents roll and segments fill while the load runs.
PAD = b"x" * 2048
QUICK = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20, "log_level": 2}


class Load(threading.Thread):
    """One idempotent producer: sends without pause, remembers every ack."""

    def __init__(self, bootstrap, topic, number):
        super().__init__(daemon=True)
        self.topic, self.number, self.stop_it = topic, number, threading.Event()
        self.acked, self.failed = [], []
        self.producer = Producer({
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 1,
            "message.timeout.ms": 300_000,
            "retry.backoff.max.ms": 100,
            "queue.buffering.max.messages": 2000,
            **QUICK,
        })

    def delivered(self, error, message):
        if error:
            self.failed.append(str(error))
        else:
            self.acked.append((message.partition(), message.offset(), message.value().decode()))

    def run(self):
        sent = 0
        while not self.stop_it.is_set():
            try:
                value = f"{self.number}-{sent}"
                self.producer.produce(
                    self.topic, value, partition=sent % PARTITIONS, headers={"pad": PAD}, on_delivery=self.delivered
                )
                sent += 1
            except BufferError:
                self.producer.poll(0.05)
            self.producer.poll(0)
            if sent % 50 == 0:
                time.sleep(0.005)
        if self.producer.flush(DEADLINE_S):
            self.failed.append("not everything was acked after the last restart")


class Follower(threading.Thread):
    """One group member that commits as it reads; remembers what the server acked.

    It ends when it is told to and every partition had a commit acked, or when the deadline has passed since.
    """

    def __init__(self, bootstrap, topic, group):
        super().__init__(daemon=True)
        self.stop_it, self.committed = threading.Event(), {}
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **QUICK,
        })
        self.consumer.subscribe([topic])

    def run(self):
        while not self.stop_it.is_set():
            self.read_and_commit()
        end = time.monotonic() + DEADLINE_S
        while len(self.committed) < PARTITIONS and time.monotonic() < end:
            self.read_and_commit()
        self.consumer.close()

    def read_and_commit(self):
        messages = [m for m in self.consumer.consume(500, timeout=0.2) if not m.error()]
        if not messages:
            return
        ends = {m.partition(): TopicPartition(m.topic(), m.partition(), m.offset() + 1) for m in messages}
        try:
            for done in self.consumer.commit(offsets=list(ends.values()), asynchronous=False):
                if not done.error:
                    self.committed[done.partition] = max(done.offset, self.committed.get(done.partition, 0))
        except KafkaException:
            pass  # the server is down: the commit was not acked


def read_all(bootstrap, topic):
    """Every record of the topic as (partition, offset, value), up to the ends at the time of the call."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "checker", "enable.auto.commit": False,
        "enable.partition.eof": True, "check.crcs": True, **QUICK,
    })
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    records, at_end = [], set()
    end = time.monotonic() + DEADLINE_S
    while len(at_end) < PARTITIONS:
        if time.monotonic() > end:
            sys.exit(f"read back: only partitions {sorted(at_end)} reached their end")
        for message in consumer.consume(10_000, timeout=1):
            if message.error() is None:
                records.append((message.partition(), message.offset(), message.value().decode()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                at_end.add(message.partition())
            else:
                raise KafkaException(message.error())
    consumer.close()
    return records


def check(records, loads, problems):
    by_place = {(p, o): v for p, o, v in records}
    if len(by_place) != len(records):
        problems.append("an offset was read twice")
    values = [v for _, _, v in records]
    if len(set(values)) != len(values):
        problems.append(f"{len(values) - len(set(values))} values are duplicated")
    for load in loads:
        lost = [a for a in load.acked if by_place.get(a[:2]) != a[2]]
        if lost:
            problems.append(f"producer {load.number}: {len(lost)} acked records lost or moved, first {lost[0]}, "
                            f"there stands {by_place.get(lost[0][:2])}")
    for partition in range(PARTITIONS):
        offsets = sorted(o for p, o, _ in records if p == partition)
        if offsets != list(range(len(offsets))):
            problems.append(f"partition {partition}: offsets are not dense")
        last = {}
        for _, value in sorted((o, v) for p, o, v in records if p == partition):
            producer, sequence = map(int, value.split("-"))
            if sequence <= last.get(producer, -1):
                problems.append(f"partition {partition}: {value} stands after {producer}-{last[producer]}")
                break
            last[producer] = sequence


def check_committed(bootstrap, topic, group, follower, problems):
    asker = Consumer({"bootstrap.servers": bootstrap, "group.id": group, **QUICK})
    partitions = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    stored = {tp.partition: tp.offset for tp in asker.committed(partitions, timeout=DEADLINE_S)}
    asker.close()
    for partition, offset in follower.committed.items():
        if stored[partition] < offset:
            problems.append(f"partition {partition}: offset {offset} was committed, {stored[partition]} is stored")
    if len(follower.committed) < PARTITIONS:
        problems.append(f"only partitions {sorted(follower.committed)} ever had a commit acked")


def main(bootstrap, topic, group):
    loads = [Load(bootstrap, topic, n) for n in range(PRODUCERS)]
    follower = Follower(bootstrap, topic, group)
    for thread in [*loads, follower]:
        thread.start()
    sys.stdin.readline()
    for load in loads:
        load.stop_it.set()
    for load in loads:
        load.join()
    follower.stop_it.set()
    follower.join()

    problems = [f"producer {load.number}: {why}" for load in loads for why in load.failed[:3]]
    records = read_all(bootstrap, topic)
    check(records, loads, problems)
    check_committed(bootstrap, topic, group, follower, problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"ok {sum(len(load.acked) for load in loads)} acked, {len(records)} in the log", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
