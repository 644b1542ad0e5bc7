import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** The consumer protocol of KIP-848 is not served: its client says so at once, and the group's name stays free for others. */
public final class NewProtocol {
    private static final long DEADLINE_S = 60;

    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[2]);
        config.put("group.protocol", "consumer");
        refused(config, args[1]);
        System.out.println("restart");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        refused(config, args[1]);
        config.put("group.protocol", "classic");
        try (var ordinary = consumer(config, args[1])) {
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
            while (ordinary.assignment().size() != 4) {
                if (System.nanoTime() > end) {
                    throw new IllegalStateException("an ordinary member got nothing");
                }
                ordinary.poll(Duration.ofMillis(100));
            }
        }
        System.out.println("ok refused");
        System.exit(0);
    }

    private static KafkaConsumer<String, String> consumer(Properties config, String topic) {
        var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    private static void refused(Properties config, String topic) {
        try (var consumer = consumer(config, topic)) {
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
            while (System.nanoTime() < end) {
                consumer.poll(Duration.ofMillis(100));
            }
            throw new IllegalStateException("the protocol was neither served nor refused");
        } catch (UnsupportedVersionException expected) {
            // As the client should.
        }
    }
}
