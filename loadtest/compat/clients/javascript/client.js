// kafkajs through the scenario of ../README.md: gzip is the one codec it brings.

import readline from 'node:readline'
import { CompressionTypes, Kafka, logLevel } from 'kafkajs'

const [bootstrap, topic, groupId] = process.argv.slice(2)
const PER_CODEC = 100
const DEADLINE_MS = 60_000
const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP }

const kafka = new Kafka({
  clientId: 'compat', brokers: [bootstrap], logLevel: logLevel.ERROR,
  retry: { retries: 20, initialRetryTime: 100, maxRetryTime: 1000 },
})

function fail(why) {
  console.error(why)
  process.exit(1)
}

async function until(condition, what) {
  const end = Date.now() + DEADLINE_MS
  while (!condition()) {
    if (Date.now() > end) fail(`${what}: not within ${DEADLINE_MS} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function member(seen) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 10_000, heartbeatInterval: 500, rebalanceTimeout: 10_000 })
  const made = { consumer, assigned: 0 }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    made.assigned = (payload.memberAssignment[topic] ?? []).length
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => { if (!payload.restart) fail(`crash: ${payload.error}`) })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      const value = message.value.toString()
      if (message.headers.codec.toString() !== value.split('-')[0]) fail(`wrong header on ${value}`)
      seen.push(value)
      await consumer.commitOffsets([{ topic, partition, offset: String(Number(message.offset) + 1) }])
    },
  })
  return made
}

async function produce(producer, codec, compression) {
  const messages = Array.from({ length: PER_CODEC }, (_, i) => (
    { key: `key-${i}`, value: `${codec}-${i}`, headers: { codec } }
  ))
  for (const { errorCode } of await producer.send({ topic, acks: -1, compression, messages })) {
    if (errorCode !== 0) fail(`produce with ${codec}: error ${errorCode}`)
  }
}

function checkExactlyOnce(seen, codecs, what) {
  const want = new Set(codecs.flatMap((c) => Array.from({ length: PER_CODEC }, (_, i) => `${c}-${i}`)))
  const got = new Set(seen)
  const missing = [...want].filter((v) => !got.has(v))
  const extra = [...got].filter((v) => !want.has(v))
  if (got.size !== seen.length || missing.length || extra.length) {
    fail(`${what}: ${seen.length - got.size} duplicates, missing ${missing.slice(0, 3)}, unexpected ${extra.slice(0, 3)}`)
  }
}

const seen = []
const first = await member(seen)
await until(() => first.assigned === 4, 'first member gets all partitions')
const second = await member(seen)
await until(() => first.assigned === 2 && second.assigned === 2, 'rebalance to two and two')

const producer = kafka.producer({ idempotent: false })
await producer.connect()
for (const [codec, compression] of Object.entries(CODECS)) await produce(producer, codec, compression)
await until(() => seen.length >= PER_CODEC * Object.keys(CODECS).length, 'read everything')
await first.consumer.disconnect()
await second.consumer.disconnect()
checkExactlyOnce(seen, Object.keys(CODECS), 'before the restart')

console.log('restart')
await new Promise((resolve) => readline.createInterface({ input: process.stdin }).once('line', resolve))
await produce(producer, 'again', CompressionTypes.None)
const resumed = []
const third = await member(resumed)
await until(() => resumed.length >= PER_CODEC, 'resume')
await third.consumer.disconnect()
checkExactlyOnce(resumed, ['again'], 'after the restart')
await producer.disconnect()
console.log(`ok ${seen.length + resumed.length}`)
process.exit(0)
