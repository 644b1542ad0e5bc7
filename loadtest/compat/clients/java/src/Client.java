import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client through the scenario of ../../README.md: idempotent producers, every codec. */
public final class Client {
    private static final int PER_CODEC = 100;
    private static final long DEADLINE_S = 60;
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    private final String bootstrap;
    private final String topic;
    private final String group;

    private Client(String bootstrap, String topic, String group) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        this.group = group;
    }

    public static void main(String[] args) throws Exception {
        new Client(args[0], args[1], args[2]).scenario();
        System.exit(0);
    }

    private void scenario() throws Exception {
        List<String> seen = Collections.synchronizedList(new ArrayList<>());
        Member first = new Member(seen);
        until(() -> first.assigned == 4, "first member gets all partitions", first);
        Member second = new Member(seen);
        until(() -> first.assigned == 2 && second.assigned == 2, "rebalance to two and two", first, second);

        Map<String, KafkaProducer<String, String>> producers = new LinkedHashMap<>();
        for (String codec : CODECS) {
            producers.put(codec, producer(codec));
            produce(producers.get(codec), codec);
        }
        until(() -> seen.size() >= PER_CODEC * CODECS.size(), "read everything", first, second);
        first.leave();
        second.leave();
        checkExactlyOnce(seen, CODECS, "before the restart");

        System.out.println("restart");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        produce(producers.get("none"), "again");
        List<String> resumed = Collections.synchronizedList(new ArrayList<>());
        Member third = new Member(resumed);
        until(() -> resumed.size() >= PER_CODEC, "resume", third);
        third.leave();
        checkExactlyOnce(resumed, List.of("again"), "after the restart");
        System.out.println("ok " + (seen.size() + resumed.size()));
    }

    private KafkaProducer<String, String> producer(String codec) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("compression.type", codec);
        p.put("acks", "all");
        p.put("enable.idempotence", "true");
        return new KafkaProducer<>(p, new StringSerializer(), new StringSerializer());
    }

    private void produce(KafkaProducer<String, String> producer, String codec) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int i = 0; i < PER_CODEC; i++) {
            ProducerRecord<String, String> record = new ProducerRecord<>(topic, "key-" + i, codec + "-" + i);
            record.headers().add("codec", codec.getBytes(StandardCharsets.UTF_8));
            sent.add(producer.send(record));
        }
        producer.flush();
        for (Future<RecordMetadata> one : sent) {
            one.get(DEADLINE_S, TimeUnit.SECONDS);
        }
    }

    private static void until(BooleanSupplier condition, String what, Member... members) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
        while (!condition.getAsBoolean()) {
            for (Member member : members) {
                if (member.error != null) {
                    throw member.error;
                }
            }
            if (System.nanoTime() > end) {
                throw new IllegalStateException(what + ": not within " + DEADLINE_S + " s");
            }
            Thread.sleep(50);
        }
    }

    private static void checkExactlyOnce(List<String> seen, List<String> codecs, String what) {
        Set<String> want = new HashSet<>();
        for (String codec : codecs) {
            for (int i = 0; i < PER_CODEC; i++) {
                want.add(codec + "-" + i);
            }
        }
        Set<String> got = new HashSet<>(seen);
        if (!got.equals(want) || got.size() != seen.size()) {
            throw new IllegalStateException(what + ": " + seen.size() + " read, " + got.size() + " distinct, "
                + want.size() + " expected");
        }
    }

    /** One group member on its own thread: reads, checks the header, commits; leaves when told. */
    private final class Member extends Thread {
        private final List<String> seen;
        private volatile boolean stop;
        volatile int assigned;
        volatile Exception error;

        Member(List<String> seen) {
            this.seen = seen;
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            Properties p = new Properties();
            p.put("bootstrap.servers", bootstrap);
            p.put("group.id", group);
            p.put("auto.offset.reset", "earliest");
            p.put("enable.auto.commit", "false");
            p.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
            try (KafkaConsumer<String, String> consumer =
                     new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic));
                while (!stop) {
                    var polled = consumer.poll(Duration.ofMillis(200));
                    assigned = consumer.assignment().size();
                    for (ConsumerRecord<String, String> record : polled) {
                        String codec = new String(record.headers().lastHeader("codec").value(), StandardCharsets.UTF_8);
                        if (!record.value().startsWith(codec + "-")) {
                            throw new IllegalStateException("wrong header on " + record.value());
                        }
                        seen.add(record.value());
                    }
                    if (!polled.isEmpty()) {
                        consumer.commitSync();
                    }
                }
            } catch (Exception e) {
                error = e;
            }
        }

        void leave() throws Exception {
            stop = true;
            join();
            if (error != null) {
                throw error;
            }
        }
    }
}
