import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Static members (KIP-345) of the Java client: what moves partitions and what must not, with a restart of the service. */
public final class Members {
    private static final long DEADLINE_S = 60;

    private final String bootstrap;
    private final String topic;
    private final String group;

    private Members(String bootstrap, String topic, String group) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        this.group = group;
    }

    public static void main(String[] args) throws Exception {
        new Members(args[0], args[1], args[2]).scenario();
        System.out.println("ok static members");
        System.exit(0);
    }

    private void scenario() throws Exception {
        Member a = new Member("a");
        Member b = new Member("b");
        until("two and two", () -> a.has(2) && b.has(2), a, b);
        Set<TopicPartition> ofA = a.assignment();
        Set<TopicPartition> ofB = b.assignment();
        int generation = a.generation();

        // A static member that goes keeps its place, and has it again when it is back.
        b.consumer.close();
        int before = a.changes;
        Member again = new Member("b");
        until("the same for the one that came back", () -> again.assignment().equals(ofB), a, again);
        expect(a.changes == before && a.generation() == generation, "nothing moves for the other");
        expect(again.generation() == generation, "the generation goes on");

        System.out.println("restart");
        expect("restarted".equals(new BufferedReader(new InputStreamReader(System.in)).readLine()), "told of the restart");
        for (Member member : List.of(a, again)) {
            until("commits after the restart", () -> member.commits(), a, again);
        }
        expect(a.changes == before && a.generation() == generation, "nothing moves by a restart");
        expect(a.assignment().equals(ofA) && again.assignment().equals(ofB), "the same after the restart");

        // A second process with the same id takes the place; the first is told.
        Member twin = new Member("a");
        until("the twin has the partitions", () -> twin.assignment().equals(ofA), twin, again);
        try {
            until("the first is fenced", () -> false, a);
            throw new IllegalStateException("the first was not fenced");
        } catch (FencedInstanceIdException expected) {
            expect(twin.assignment().equals(ofA), "the twin keeps its place");
        }
        describe(2);

        // An administrator takes a member out by its id: the other gets all.
        again.consumer.close();
        try (Admin admin = Admin.create(config())) {
            var out = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("b")));
            admin.removeMembersFromConsumerGroup(group, out).all().get(DEADLINE_S, TimeUnit.SECONDS);
        }
        until("all for the one that is left", () -> twin.has(4), twin);
        describe(1);
        twin.consumer.close();
    }

    private void describe(int members) throws Exception {
        try (Admin admin = Admin.create(config())) {
            ConsumerGroupDescription found =
                admin.describeConsumerGroups(List.of(group)).all().get(DEADLINE_S, TimeUnit.SECONDS).get(group);
            expect(found.members().size() == members, members + " members in " + found);
            for (var member : found.members()) {
                expect(member.groupInstanceId().isPresent(), "an instance id in " + member);
            }
        }
    }

    private Properties config() {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        return config;
    }

    private static void expect(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException("not so: " + what);
        }
    }

    private static void until(String what, BooleanSupplier done, Member... members) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
        while (!done.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new IllegalStateException(what + ": not within " + DEADLINE_S + " s");
            }
            for (Member member : members) {
                member.consumer.poll(Duration.ofMillis(50));
            }
        }
    }

    /** One static consumer; counts how often its partitions changed. */
    private final class Member implements ConsumerRebalanceListener {
        final KafkaConsumer<String, String> consumer;
        int changes = 0;

        Member(String id) {
            Properties config = config();
            config.put(ConsumerConfig.GROUP_ID_CONFIG, group);
            config.put(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, id);
            // Longer than anything here takes: only what is meant moves partitions.
            config.put(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, "120000");
            config.put(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, "500");
            config.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
            consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
            consumer.subscribe(List.of(topic), this);
        }

        boolean has(int partitions) {
            return consumer.assignment().size() == partitions;
        }

        Set<TopicPartition> assignment() {
            return Set.copyOf(consumer.assignment());
        }

        int generation() {
            return consumer.groupMetadata().generationId();
        }

        boolean commits() {
            try {
                consumer.commitSync(Duration.ofSeconds(1));
                return true;
            } catch (org.apache.kafka.common.errors.TimeoutException again) {
                return false;
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            changes++;
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            changes++;
        }
    }
}
