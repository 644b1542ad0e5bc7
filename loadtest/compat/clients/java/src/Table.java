import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A table in a compacted topic. {@code write <bootstrap> <topic> <updates> <keys>} writes updates of random keys, then deletes
 * every hundredth key. {@code read …} builds the table from the beginning, checks it, and prints how many records that took.
 * {@code seek …} reads from somewhere in the middle of what was compacted and checks order and values.
 */
public final class Table {
    private static final int EVERY = 100;

    private final String bootstrap;
    private final String topic;
    private final int updates;
    private final int keys;

    private Table(String[] args) {
        bootstrap = args[1];
        topic = args[2];
        updates = Integer.parseInt(args[3]);
        keys = Integer.parseInt(args[4]);
    }

    public static void main(String[] args) throws Exception {
        Table table = new Table(args);
        switch (args[0]) {
            case "write" -> table.write();
            case "read" -> table.read();
            case "seek" -> table.seek();
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.exit(0);
    }

    /** The key of each update: the same in every run. */
    private Random choice() {
        return new Random(4711);
    }

    private void write() {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("linger.ms", "5");
        config.put("batch.size", "65536");
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            Random choice = choice();
            for (int i = 0; i < updates; i++) {
                send(producer, "key-" + choice.nextInt(keys), "value-" + i);
            }
            for (int key = 0; key < keys; key += EVERY) {
                send(producer, "key-" + key, null);
            }
            producer.flush();
        }
        System.out.println("ok");
    }

    private void send(KafkaProducer<String, String> producer, String key, String value) {
        producer.send(new ProducerRecord<>(topic, key, value), (done, error) -> {
            if (error != null) {
                error.printStackTrace();
                System.exit(1);
            }
        });
    }

    private Map<String, String> expected() {
        Map<String, String> table = new HashMap<>();
        Random choice = choice();
        for (int i = 0; i < updates; i++) {
            table.put("key-" + choice.nextInt(keys), "value-" + i);
        }
        for (int key = 0; key < keys; key += EVERY) {
            table.remove("key-" + key);
        }
        return table;
    }

    private KafkaConsumer<String, String> consumer() {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("auto.offset.reset", "none");
        KafkaConsumer<String, String> consumer =
            new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        consumer.assign(List.of(new TopicPartition(topic, 0)));
        return consumer;
    }

    private void read() {
        Map<String, String> table = new HashMap<>();
        long records = from(0, table);
        check(table.equals(expected()), "the table has " + table.size() + " keys and is not the one that was written");
        System.out.println(records);
    }

    /** Reads from an offset to the end into a table; offsets ascend and each value is the one written there. */
    private long from(long offset, Map<String, String> table) {
        TopicPartition partition = new TopicPartition(topic, 0);
        long records = 0;
        try (KafkaConsumer<String, String> consumer = consumer()) {
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            check(end >= updates, "the log ends at " + end);
            consumer.seek(partition, offset);
            long last = offset - 1;
            while (consumer.position(partition) < end) {
                ConsumerRecords<String, String> some = consumer.poll(Duration.ofSeconds(10));
                check(!some.isEmpty(), "nothing came behind offset " + last);
                for (ConsumerRecord<String, String> record : some) {
                    check(record.offset() > last, "offset " + record.offset() + " came behind " + last);
                    last = record.offset();
                    boolean same = record.value() == null || record.value().equals("value-" + last);
                    check(same, "offset " + last + " holds " + record.value());
                    if (record.value() == null) {
                        table.remove(record.key());
                    } else {
                        table.put(record.key(), record.value());
                    }
                    records++;
                }
            }
        }
        return records;
    }

    private void seek() {
        Map<String, String> table = new HashMap<>();
        System.out.println(from(updates / 3 + 1, table));
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            System.err.println(otherwise);
            System.exit(1);
        }
    }
}
