import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java admin client: what it changes, what it is refused, and that all of it outlives the service. */
public final class Administration {
    private static final long DEADLINE_S = 60;

    private final String bootstrap;
    private final String topic;
    private final String group;
    private final Admin admin;

    private Administration(String bootstrap, String prefix, String group) {
        this.bootstrap = bootstrap;
        this.topic = prefix + "-a";
        this.group = group;
        this.admin = Admin.create(config());
    }

    public static void main(String[] args) throws Exception {
        new Administration(args[0], args[1], args[2]).scenario();
        System.out.println("ok administration");
        System.exit(0);
    }

    private void scenario() throws Exception {
        topics();
        configs();
        Uuid id = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).topicId();
        produceAndCommit();
        System.out.println("restart");
        expect("restarted", new BufferedReader(new InputStreamReader(System.in)).readLine());
        var again = get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id);
        expect(topic + " 5", again.name() + " " + again.partitions().size());
        expect("500000", value("max.message.bytes"));
        offsets();
        liveGroup();
        groups();
        get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
        refused("UnknownTopicIdException", admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
        refused("UnknownTopicOrPartitionException", admin.deleteTopics(List.of(topic)).all());
    }

    private void topics() throws Exception {
        var made = admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1).configs(Map.of("retention.ms", "86400000"))));
        expect("3 1 86400000", get(made.numPartitions(topic)) + " " + get(made.replicationFactor(topic)) + " "
            + get(made.config(topic)).get("retention.ms").value());
        refused("TopicExistsException", create(new NewTopic(topic, 3, (short) 1)));
        refused("InvalidPartitionsException", create(new NewTopic(topic + "0", 0, (short) 1)));
        refused("InvalidTopicException", create(new NewTopic("a b", 1, (short) 1)));
        refused("InvalidConfigurationException", create(new NewTopic(topic + "c", 1, (short) 1).configs(Map.of("nope", "1"))));
        refused("InvalidReplicaAssignmentException", create(new NewTopic(topic + "r", Map.of(0, List.of(7)))));
        get(create(new NewTopic(topic + "-b", Optional.empty(), Optional.empty())));
        get(grow(topic, 5));
        refused("InvalidPartitionsException", grow(topic, 4));
        refused("InvalidPartitionsException", grow(topic, 5));
        refused("UnknownTopicOrPartitionException", grow(topic + "z", 5));
        var dry = new CreatePartitionsOptions().validateOnly(true);
        get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(9)), dry).all());
        refused("UnknownTopicOrPartitionException", admin.describeTopics(List.of(topic + "z")).allTopicNames());
        get(admin.deleteTopics(List.of(topic + "-b")).all());
        refused("UnknownTopicOrPartitionException", admin.deleteTopics(List.of(topic + "-b")).all());
    }

    private void configs() throws Exception {
        get(alter(topic, "max.message.bytes", "500000", OpType.SET));
        get(alter(topic, "cleanup.policy", "compact", OpType.APPEND));
        expect("delete,compact", value("cleanup.policy"));
        get(alter(topic, "cleanup.policy", "compact", OpType.SUBTRACT));
        expect("delete", value("cleanup.policy"));
        refused("InvalidConfigurationException", alter(topic, "nope", "5", OpType.SET));
        refused("InvalidConfigurationException", alter(topic, "max.message.bytes", "-5", OpType.SET));
        refused("InvalidConfigurationException", alter(topic, "retention.ms", "5", OpType.APPEND));
        refused("UnknownTopicOrPartitionException", alter(topic + "z", "retention.ms", "5", OpType.SET));
    }

    private void produceAndCommit() throws Exception {
        try (var producer = new KafkaProducer<>(config(), new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 5; i++) {
                producer.send(new ProducerRecord<>(topic, i, "k", "v")).get(DEADLINE_S, TimeUnit.SECONDS);
            }
        }
        try (var consumer = consumer(group)) {
            consumer.commitSync(Map.of(at(0), new OffsetAndMetadata(1, "note"), at(1), new OffsetAndMetadata(1)));
        }
    }

    private void offsets() throws Exception {
        expect("[0, 1]", committed().toString());
        expect("note", get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(at(0)).metadata());
        get(admin.alterConsumerGroupOffsets(group, Map.of(at(2), new OffsetAndMetadata(1))).all());
        refused("UnknownTopicOrPartitionException",
            admin.alterConsumerGroupOffsets(group, Map.of(at(99), new OffsetAndMetadata(1))).all());
        get(admin.deleteConsumerGroupOffsets(group, Set.of(at(1))).all());
        get(admin.deleteConsumerGroupOffsets(group, Set.of(at(1))).all());
        refused("UnknownTopicOrPartitionException",
            admin.deleteConsumerGroupOffsets(group, Set.of(new TopicPartition(topic + "z", 1))).all());
        refused("GroupIdNotFoundException", admin.deleteConsumerGroupOffsets(group + "z", Set.of(at(1))).all());
        expect("[0, 2]", committed().toString());
        for (OffsetSpec end : List.of(OffsetSpec.latest(), OffsetSpec.forTimestamp(Long.MAX_VALUE))) {
            long found = get(admin.listOffsets(Map.of(at(0), end)).all()).get(at(0)).offset();
            expect(end instanceof OffsetSpec.LatestSpec ? "1" : "-1", String.valueOf(found));
        }
    }

    private void liveGroup() throws Exception {
        String live = group + "-live";
        try (var consumer = consumer(live)) {
            consumer.subscribe(List.of(topic));
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
            for (int read = 0; read < 5; read += consumer.poll(Duration.ofMillis(100)).count()) {
                expect("true", String.valueOf(System.nanoTime() < end));
            }
            consumer.commitSync();
            refused("GroupNotEmptyException", admin.deleteConsumerGroups(List.of(live)).all());
            refused("GroupSubscribedToTopicException", admin.deleteConsumerGroupOffsets(live, Set.of(at(0))).all());
            refused("UnknownMemberIdException",
                admin.alterConsumerGroupOffsets(live, Map.of(at(0), new OffsetAndMetadata(0))).all());
            var found = get(admin.describeConsumerGroups(List.of(live)).all()).get(live);
            expect("Stable range 1", found.groupState() + " " + found.partitionAssignor() + " " + found.members().size());
            get(admin.removeMembersFromConsumerGroup(live, new RemoveMembersFromConsumerGroupOptions()).all());
            expect("Empty", get(admin.describeConsumerGroups(List.of(live)).all()).get(live).groupState().toString());
        }
    }

    private void groups() throws Exception {
        var listed = new TreeSet<String>();
        get(admin.listGroups().all()).forEach(g -> listed.add(g.groupId() + " " + g.type().orElseThrow() + " " + g.groupState().orElseThrow()));
        expect("true", String.valueOf(listed.contains(group + " Classic Empty")));
        get(admin.deleteConsumerGroups(List.of(group)).all());
        refused("GroupIdNotFoundException", admin.deleteConsumerGroups(List.of(group)).all());
        refused("GroupIdNotFoundException", admin.describeConsumerGroups(List.of(group)).all());
        expect("[]", committed().toString());
    }

    private TreeSet<Integer> committed() throws Exception {
        var partitions = new TreeSet<Integer>();
        get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).keySet().forEach(p -> partitions.add(p.partition()));
        return partitions;
    }

    private String value(String name) throws Exception {
        return get(admin.describeConfigs(List.of(resource(topic))).all()).get(resource(topic)).get(name).value();
    }

    private KafkaFuture<Void> create(NewTopic made) {
        return admin.createTopics(List.of(made)).all();
    }

    private KafkaFuture<Void> grow(String name, int partitions) {
        return admin.createPartitions(Map.of(name, NewPartitions.increaseTo(partitions))).all();
    }

    private KafkaFuture<Void> alter(String name, String key, String value, OpType how) {
        var change = new AlterConfigOp(new ConfigEntry(key, value), how);
        return admin.incrementalAlterConfigs(Map.of(resource(name), List.of(change))).all();
    }

    private static ConfigResource resource(String name) {
        return new ConfigResource(ConfigResource.Type.TOPIC, name);
    }

    private TopicPartition at(int partition) {
        return new TopicPartition(topic, partition);
    }

    private KafkaConsumer<String, String> consumer(String name) {
        Properties config = config();
        config.put("group.id", name);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    private Properties config() {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        return config;
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(DEADLINE_S, TimeUnit.SECONDS);
    }

    private static void expect(String expected, String found) {
        if (!expected.equals(found)) {
            throw new IllegalStateException("expected " + expected + ", found " + found);
        }
    }

    private static void refused(String with, KafkaFuture<?> future) throws Exception {
        try {
            throw new IllegalStateException("expected " + with + ", found " + get(future));
        } catch (ExecutionException error) {
            expect(with, error.getCause().getClass().getSimpleName());
        }
    }
}
