"""What the two Python clients share: the scenario's checks, not its calls."""

import sys
import threading
import time

PER_CODEC = 100
DEADLINE_S = 60


def expected(codecs):
    return {f"{codec}-{i}" for codec in codecs for i in range(PER_CODEC)}


def check_exactly_once(seen, want, what):
    duplicates = len(seen) - len(set(seen))
    missing = want - set(seen)
    extra = set(seen) - want
    if duplicates or missing or extra:
        sys.exit(f"{what}: {duplicates} duplicates, {len(missing)} missing {sorted(missing)[:3]}, "
                 f"{len(extra)} unexpected {sorted(extra)[:3]}")


def wait_for_restart():
    print("restart", flush=True)
    if not sys.stdin.readline():
        sys.exit("the driver went away")


class Member(threading.Thread):
    """One group member: `poll_once` reads and commits; the thread runs it until told to stop, then leaves the group."""

    def __init__(self, consumer, seen):
        super().__init__(daemon=True)
        self.consumer, self.seen = consumer, seen
        self.stop_it, self.assigned, self.error = threading.Event(), [], None

    def poll_once(self):
        raise NotImplementedError

    def take(self, value, headers):
        assert dict(headers)["codec"] == value.split(b"-")[0], (value, headers)
        self.seen.append(value.decode())

    def run(self):
        try:
            while not self.stop_it.is_set():
                self.poll_once()
                self.assigned = self.consumer.assignment()
            self.consumer.close()
        except Exception as error:  # raised again in the main thread
            self.error = error


def until(condition, members, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        for member in members:
            if member.error:
                raise member.error
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {DEADLINE_S} s")
        time.sleep(0.05)


def leave(members):
    for member in members:
        member.stop_it.set()
    for member in members:
        member.join()
        if member.error:
            raise member.error


def scenario(codecs, member, producer_for, produce):
    """`member(seen)` makes a started member, `producer_for(codec)` a producer, `produce(producer, codec)` sends and checks."""
    seen, resumed = [], []
    first = member(seen)
    until(lambda: len(first.assigned) == 4, [first], "first member gets all partitions")
    second = member(seen)
    both = [first, second]
    until(lambda: len(first.assigned) == 2 and len(second.assigned) == 2, both, "rebalance to two and two")

    producers = {codec: producer_for(codec) for codec in codecs}
    for codec, producer in producers.items():
        produce(producer, codec)
    want = expected(codecs)
    until(lambda: len(seen) >= len(want), both, "read everything")
    leave(both)
    check_exactly_once(seen, want, "before the restart")

    wait_for_restart()
    produce(producers["none"], "again")
    third = member(resumed)
    until(lambda: len(resumed) >= PER_CODEC, [third], "resume")
    leave([third])
    check_exactly_once(resumed, expected(["again"]), "after the restart")
    print(f"ok {len(seen) + len(resumed)}", flush=True)
