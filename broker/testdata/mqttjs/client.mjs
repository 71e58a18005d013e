// Talks to the node at the URL with that version of MQTT: subscriptions, every QoS, retained messages, a will.
//   node client.mjs mqtt://127.0.0.1:1883 5
import mqtt from 'mqtt'

const [url, version] = process.argv.slice(2)
if (url === '--version') process.exit(0)

const protocolVersion = Number(version)
const open = (options) => mqtt.connectAsync(url, { protocolVersion, reconnectPeriod: 0, connectTimeout: 20000, ...options })
const fail = (what) => { console.error(what); process.exit(1) }
setTimeout(() => fail('not in time'), 45000).unref()

// next returns a promise of the next message of a client.
const next = (client) => new Promise((resolve) => client.once('message', (topic, payload, packet) => resolve({ topic, text: payload.toString(), packet })))

const sub = await open({ clientId: 'sub' })
const pub = await open({ clientId: 'pub', will: { topic: 'a/will', payload: 'gone', qos: 1 } })
const granted = await sub.subscribeAsync('a/#', { qos: 2 })
if (granted[0].qos !== 2) fail(`granted ${JSON.stringify(granted)}`)

for (const qos of [0, 1, 2]) {
  const heard = next(sub)
  const properties = protocolVersion === 5 ? { userProperties: { n: String(qos) }, contentType: 'text/plain' } : undefined
  await pub.publishAsync('a/b', 'x'.repeat(20000) + qos, { qos, properties })
  const m = await heard
  if (m.topic !== 'a/b' || m.packet.qos !== qos || !m.text.endsWith(String(qos)) || m.text.length !== 20001) fail(`QoS ${qos}: ${m.topic} ${m.packet.qos}`)
  if (properties && (m.packet.properties.userProperties.n !== String(qos) || m.packet.properties.contentType !== 'text/plain')) fail('properties are lost')
}

await pub.publishAsync('r/x', 'kept', { qos: 1, retain: true })
const kept = next(sub)
await sub.subscribeAsync('r/+', { qos: 1 })
const r = await kept
if (r.text !== 'kept' || !r.packet.retain) fail('retained message')

const will = next(sub)
pub.stream.destroy()
if ((await will).text !== 'gone') fail('will')
await sub.unsubscribeAsync('a/#')
await sub.endAsync()
console.log('done')
process.exit(0)
