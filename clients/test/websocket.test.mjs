// The ws library on both sides of keeper: as the agent and as the provider. And
// OpenAI's own realtime client, which speaks wss alone, through a proxy that ends TLS.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import tls from 'node:tls';
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import WebSocket, { WebSocketServer } from 'ws';
import { newKey } from '../lib/canary.mjs';
import { start } from '../lib/keeper.mjs';

// The provider sends everything back, and does what a message asks it to.
const received = [];
const handshakes = [];
const provider = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: { threshold: 0 }, maxPayload: 64 << 20, handleProtocols: () => 'realtime' });
await once(provider, 'listening');
provider.on('connection', (socket, request) => {
  handshakes.push(request.headers);
  if (request.headers.authorization !== `Bearer ${world.keys.openai}`) return socket.close(4401, 'not the credential');
  socket.on('message', (data, binary) => {
    received.push(data.toString());
    if (data.toString() === 'leak') return leak(socket);
    if (data.toString() === 'close') return socket.close(4000, 'as you wish');
    if (data.toString() === 'drop') return socket.terminate();
    socket.send(data, { binary });
  });
});

function leak(socket) {
  socket.send(JSON.stringify({ type: 'item', text: `it is ${world.keys.openai}!` }));
  for (const piece of world.keys.openai.match(/.{1,9}/g)) {
    socket.send(JSON.stringify({ type: 'response.text.delta', delta: piece }));
  }
  socket.send(JSON.stringify({ type: 'response.text.done' }));
}

const world = await start({ env: { KEEPER_PROXY_OPENAI_URL: `http://127.0.0.1:${provider.address().port}` } });
after(() => { provider.close(); provider.clients.forEach((socket) => socket.terminate()); });
const token = await world.token('openai:realtime');
const address = `${world.base('openai').replace('http', 'ws')}/v1/realtime?model=gpt-realtime`;

async function connect(options = {}, protocols = ['realtime']) {
  const socket = new WebSocket(address, protocols, { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: { threshold: 0 }, ...options });
  socket.messages = [];
  socket.waiting = [];
  socket.on('message', (data, binary) => {
    const message = binary ? data : world.see(data.toString());
    const next = socket.waiting.shift();
    if (next) next(message); else socket.messages.push(message);
  });
  socket.next = () => new Promise((resolve) => {
    if (socket.messages.length > 0) resolve(socket.messages.shift()); else socket.waiting.push(resolve);
  });
  socket.closed = once(socket, 'close').then(([code, reason]) => [code, world.see(reason.toString())]);
  await once(socket, 'open');
  return socket;
}

test('messages of all kinds and sizes come back as they were', async () => {
  const socket = await connect();
  assert.equal(socket.extensions, '');
  assert.equal(socket.protocol, 'realtime');
  for (const text of ['hello', '', 'internationalization', '{"type":"session.update"}', 'grüße 😀', 'plain words '.repeat(400_000)]) {
    socket.send(text);
    assert.equal(await socket.next(), text);
  }
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 5 << 20]) {
    const data = Buffer.alloc(size, 0xfe);
    socket.send(data);
    assert.deepEqual(await socket.next(), data);
  }
  socket.close(1000, 'done');
  assert.deepEqual(await socket.closed, [1000, 'done']);
});

test('fragments come back as one message, with pings between them', async () => {
  const socket = await connect();
  const pong = once(socket, 'pong');
  socket.send('one ', { fin: false });
  socket.ping('still there?');
  socket.send('two ', { fin: false });
  socket.send('three', { fin: true });
  assert.equal(await socket.next(), 'one two three');
  assert.equal((await pong)[0].toString(), 'still there?');
  socket.terminate();
});

test('many messages at once keep their order', async () => {
  const socket = await connect();
  for (let i = 0; i < 2000; i++) i % 7 === 0 ? socket.send(Buffer.from(`binary ${i}`)) : socket.send(`{"number":${i},"word":"internationalization"}`);
  for (let i = 0; i < 2000; i++) {
    assert.equal((await socket.next()).toString(), i % 7 === 0 ? `binary ${i}` : `{"number":${i},"word":"internationalization"}`);
  }
  socket.terminate();
});

test("the provider's close code and reason arrive", async () => {
  const socket = await connect();
  socket.send('close');
  assert.deepEqual(await socket.closed, [4000, 'as you wish']);
});

test('a provider that breaks off is no clean end', async () => {
  const socket = await connect();
  socket.send('drop');
  assert.deepEqual(await socket.closed, [1011, 'keeper: the provider broke the connection off']);
});

test('a secret in a message closes the connection and stays behind', async () => {
  const socket = await connect();
  const key = newKey('github');
  received.length = 0;
  socket.send(JSON.stringify({ type: 'conversation.item.create', item: { content: [{ text: `use ${key}` }] } }));
  const [code, reason] = await socket.closed;
  assert.equal(code, 1008);
  assert.match(reason, /^keeper: secret in message\.item\.content\[0\]\.text: rule github-pat/);
  assert.deepEqual(received, []);
});

test("secrets in the provider's messages are replaced, over deltas too", async () => {
  const socket = await connect();
  socket.send('leak');
  assert.equal(await socket.next(), '{"type":"item","text":"it is [REDACTED:vault:openai]!"}');
  let all = '';
  for (;;) {
    const event = JSON.parse(await socket.next());
    if (event.type === 'response.text.done') break;
    all += event.delta;
  }
  assert.equal(all, '[REDACTED:vault:openai]');
  socket.terminate();
});

test('a refused handshake shows its reason', async () => {
  const socket = new WebSocket(address, { headers: { authorization: `Bearer ${await world.revokedToken('openai:realtime')}` } });
  const [, answer] = await once(socket, 'unexpected-response');
  let body = '';
  for await (const piece of answer) body += piece;
  assert.equal(answer.statusCode, 401);
  assert.match(JSON.parse(world.see(body)).error.message, /^keeper: the token was revoked/);
});

// wss is a proxy in front of keeper that ends TLS, and the certificate to trust.
async function wss() {
  const folder = await mkdtemp(join(tmpdir(), 'keeper-wss-'));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', join(folder, 'key'), '-out', join(folder, 'cert')], { stdio: 'ignore' });
  const cert = await readFile(join(folder, 'cert'));
  const to = new URL(world.url);
  const front = tls.createServer({ key: await readFile(join(folder, 'key')), cert }, (inner) => {
    const outer = net.connect(to.port, to.hostname);
    inner.pipe(outer).pipe(inner);
    inner.on('error', () => outer.destroy());
    outer.on('error', () => inner.destroy());
  });
  await rm(folder, { recursive: true });
  await new Promise((resolve) => front.listen(0, '127.0.0.1', resolve));
  after(() => front.close());
  return { url: `https://127.0.0.1:${front.address().port}`, cert };
}

test("OpenAI's realtime client sends and receives events", async () => {
  const front = await wss();
  const client = new OpenAI({ apiKey: token, baseURL: `${front.url}/api/v1/proxy/openai/v1` });
  handshakes.length = 0;
  const session = new OpenAIRealtimeWS({ model: 'gpt-realtime', options: { ca: front.cert } }, client);
  await once(session.socket, 'open');
  assert.equal(handshakes[0].authorization, `Bearer ${world.keys.openai}`);
  const arrived = new Promise((resolve) => session.on('response.create', resolve)); // the echo of what is sent
  session.send({ type: 'response.create', response: { instructions: 'say hello' } });
  assert.equal(world.see(await arrived).response.instructions, 'say hello');
  const failed = new Promise((resolve) => session.socket.on('close', (code, reason) => resolve([code, reason.toString()])));
  session.send({ type: 'response.create', response: { instructions: `say ${newKey('github')}` } });
  const [code, reason] = await failed;
  assert.equal(code, 1008);
  assert.match(reason, /^keeper: secret in message\.response\.instructions: rule github-pat/);
});
