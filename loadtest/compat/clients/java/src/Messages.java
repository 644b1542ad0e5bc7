import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Messages as Apache Kafka itself writes them, with a value of its own in every field. For each argument
 * {@code key:min:max} and each version: request and response, each in three fillings. A line is
 * {@code request|response}, key, version, bytes in hex, then {@code path=value} of every field, tab-separated.
 */
public final class Messages {
    /** How fields are filled. */
    private enum Filling { FULL, EMPTY, NEGATIVE }

    private final Filling filling;
    private final StringBuilder fields = new StringBuilder();
    private int count = 0;

    private Messages(Filling filling) {
        this.filling = filling;
    }

    public static void main(String[] args) {
        for (String arg : args) {
            String[] parts = arg.split(":");
            ApiMessageType api = ApiMessageType.fromApiKey(Short.parseShort(parts[0]));
            for (short v = Short.parseShort(parts[1]); v <= Short.parseShort(parts[2]); v++) {
                for (Filling filling : Filling.values()) {
                    print("request", api, v, api.requestSchemas()[v], api.newRequest(), filling);
                    print("response", api, v, api.responseSchemas()[v], api.newResponse(), filling);
                }
            }
        }
    }

    private static void print(
            String kind, ApiMessageType api, short version, Schema schema, ApiMessage message, Filling filling) {
        Messages filler = new Messages(filling);
        Struct struct = filler.fill("", schema);
        ByteBuffer bytes = ByteBuffer.allocate(schema.sizeOf(struct));
        schema.write(bytes, struct);
        bytes.flip();
        // Kafka's own message class has the last word: it leaves out tagged fields that have their default.
        message.read(new ByteBufferAccessor(bytes), version);
        ByteBuffer written = MessageUtil.toByteBufferAccessor(message, version).buffer();
        System.out.println(kind + "\t" + api.apiKey() + "\t" + version + "\t" + hex(written) + filler.fields);
    }

    private Struct fill(String path, Schema schema) {
        Struct struct = new Struct(schema);
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields tagged) {
                struct.set(field, tags(path, tagged));
            } else {
                struct.set(field, value(path + field.def.name, field.def.type));
            }
        }
        return struct;
    }

    /** Tagged fields; an empty message leaves them out. */
    private NavigableMap<Integer, Object> tags(String path, TaggedFields tagged) {
        NavigableMap<Integer, Object> values = new TreeMap<>();
        if (filling != Filling.EMPTY) {
            for (Map.Entry<Integer, Field> field : tagged.fields().entrySet()) {
                values.put(field.getKey(), value(path + field.getValue().name, field.getValue().type));
            }
        }
        return values;
    }

    private Object value(String path, Type type) {
        if (type instanceof Schema schema) {
            if (filling == Filling.EMPTY && type.isNullable()) {
                return leaf(path, "null", null);
            }
            return fill(path + ".", schema);
        }
        if (type.isArray()) {
            return array(path, type);
        }
        count++;
        int sign = filling == Filling.NEGATIVE ? -1 : 1;
        boolean empty = filling == Filling.EMPTY;
        String name = type.toString().replace("COMPACT_", "");
        if (empty && name.startsWith("NULLABLE_")) {
            return leaf(path, "null", null);
        }
        switch (name.replace("NULLABLE_", "")) {
            case "BOOLEAN":
                return leaf(path, filling == Filling.FULL ? "true" : "false", filling == Filling.FULL);
            case "INT8":
                return leaf(path, empty ? 0 : sign * count % 128, (byte) (empty ? 0 : sign * count % 128));
            case "INT16":
                return leaf(path, empty ? 0 : sign * (256 + count), (short) (empty ? 0 : sign * (256 + count)));
            case "UINT16":
                return leaf(path, empty ? 0 : 40_000 + count, empty ? 0 : 40_000 + count);
            case "INT32":
                return leaf(path, empty ? 0 : sign * (70_000 + count), empty ? 0 : sign * (70_000 + count));
            case "INT64":
                return leaf(path, empty ? 0L : sign * (5_000_000_000L + count), empty ? 0L : sign * (5_000_000_000L + count));
            case "UUID":
                Uuid id = empty ? Uuid.ZERO_UUID : new Uuid(sign * 7_000_000_000L * count, count);
                return leaf(path, String.format("uuid-%016x%016x", id.getMostSignificantBits(), id.getLeastSignificantBits()), id);
            case "STRING":
                String text = empty ? "" : (sign < 0 ? "s\u00e9\u2603" : "s") + count;
                return leaf(path, "hex-" + hex(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8))), text);
            case "BYTES":
                ByteBuffer bytes = ByteBuffer.wrap(empty ? new byte[0] : new byte[] {0, (byte) (sign * count), 7});
                return leaf(path, "hex-" + hex(bytes), bytes);
            case "RECORDS":
                ByteBuffer batch = ByteBuffer.allocate(empty ? 0 : 61 + count);
                for (int i = 0; i < batch.capacity(); i++) {
                    batch.put(i, (byte) (i * sign + count));
                }
                BaseRecords records = MemoryRecords.readableRecords(batch);
                return leaf(path, "hex-" + hex(batch), records);
            default:
                throw new IllegalStateException("fill " + path + " of type " + type);
        }
    }

    /** One element when full, two when negative, none when empty. */
    private Object[] array(String path, Type type) {
        int length = switch (filling) {
            case FULL -> 1;
            case EMPTY -> 0;
            case NEGATIVE -> 2;
        };
        if (length == 0) {
            return leaf(path, type.isNullable() ? "null" : "[]", type.isNullable() ? null : new Object[0]);
        }
        Object[] elements = new Object[length];
        for (int i = 0; i < length; i++) {
            elements[i] = value(path + "." + i, type.arrayElementType().get());
        }
        return elements;
    }

    private <T> T leaf(String path, Object shown, T value) {
        fields.append('\t').append(path).append('=').append(shown);
        return value;
    }

    private static String hex(ByteBuffer bytes) {
        byte[] raw = new byte[bytes.remaining()];
        bytes.duplicate().get(raw);
        return HexFormat.of().formatHex(raw);
    }
}
