import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads what {@code ../python/cold.py} wrote: {@code <bootstrap> <topic> <records>}. Some records by offset and by timestamp,
 * then all of them.
 */
public final class Cold {
    private static final long BASE_MS = 1_600_000_000_000L;

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final TopicPartition partition;
    private final Deque<ConsumerRecord<byte[], byte[]>> polled = new ArrayDeque<>();

    private Cold(String bootstrap, String topic) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("enable.auto.commit", "false");
        consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        partition = new TopicPartition(topic, 0);
        consumer.assign(List.of(partition));
    }

    public static void main(String[] args) {
        new Cold(args[0], args[1]).read(Long.parseLong(args[2]));
        System.exit(0);
    }

    private void read(long count) {
        for (long offset : new long[] {0, 1, count / 7, count / 2, count - 1}) {
            seek(offset);
            check(next(), offset);
            long ms = BASE_MS + 1000 * offset;
            for (long asked : new long[] {ms, ms - 999}) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, asked)).get(partition);
                if (found == null || found.offset() != offset || found.timestamp() != ms) {
                    throw new AssertionError(asked + ": " + found);
                }
            }
        }
        Map<TopicPartition, OffsetAndTimestamp> late =
                consumer.offsetsForTimes(Map.of(partition, BASE_MS + 1000 * count));
        if (late.get(partition) != null) {
            throw new AssertionError("behind the last: " + late);
        }
        seek(0);
        for (long offset = 0; offset < count; offset++) {
            check(next(), offset);
        }
    }

    private void seek(long offset) {
        polled.clear();
        consumer.seek(partition, offset);
    }

    private ConsumerRecord<byte[], byte[]> next() {
        for (int i = 0; polled.isEmpty() && i < 60; i++) {
            consumer.poll(Duration.ofSeconds(1)).forEach(polled::add);
        }
        return polled.removeFirst();
    }

    private static void check(ConsumerRecord<byte[], byte[]> record, long offset) {
        byte[] begins = (offset + ":").getBytes(StandardCharsets.UTF_8);
        boolean same = record.offset() == offset
                && record.timestamp() == BASE_MS + 1000 * offset
                && new String(record.value(), 0, begins.length, StandardCharsets.UTF_8).equals(offset + ":");
        if (!same) {
            throw new AssertionError("at " + offset + ": " + record.offset() + " of " + record.timestamp());
        }
    }
}
