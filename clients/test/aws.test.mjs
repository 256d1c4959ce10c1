// The fake S3 is as strict as AWS: it takes what AWS's own client signs with the right
// key, chunks and trailers too, and nothing else. And what the matrix does not ask of
// AWS's clients: streams and objects that end early.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { BedrockRuntimeClient, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { start } from '../lib/keeper.mjs';

const world = await start();
const [accessKeyId, secretAccessKey] = world.keys['aws-s3'].split(':');

function s3(secret = secretAccessKey) {
  return new S3Client({
    endpoint: world.direct('aws-s3'), region: 'eu-west-1', forcePathStyle: true, credentials: { accessKeyId, secretAccessKey: secret },
  });
}

const object = (Key, more) => ({ Bucket: 'fake', Key, ...more });

test('aws: the fake S3 takes what its own client signs, whatever the name', async () => {
  const client = s3();
  for (const name of ['plain.txt', 'a b/ü+&=?#.txt', "it's (a) *name*!~"]) {
    await client.send(new PutObjectCommand(object(name, { Body: name, Metadata: { note: 'two  spaces' } })));
    const { Body } = await client.send(new GetObjectCommand(object(name)));
    assert.equal(await Body.transformToString(), name);
  }
  const { Contents } = await client.send(new ListObjectsV2Command({ Bucket: 'fake', Prefix: '' }));
  assert.equal(Contents.length, 3);
});

for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256']) {
  test(`aws: the fake S3 takes a stream with a trailing ${ChecksumAlgorithm}`, async () => {
    const Body = Readable.from([Buffer.alloc(100_000, 'a'), Buffer.from('the end')]);
    await s3().send(new PutObjectCommand(object('streamed', { Body, ContentLength: 100_007, ChecksumAlgorithm })));
    const { Body: got } = await s3().send(new GetObjectCommand(object('streamed')));
    assert.equal((await got.transformToString()).slice(-8), 'athe end');
  });
}

test('aws: the fake S3 refuses another secret', async () => {
  const error = await world.failure(() => s3(`${secretAccessKey}x`).send(new GetObjectCommand(object('hello.txt'))));
  assert.equal(error.name, 'SignatureDoesNotMatch');
});

// What follows goes through keeper, which signs anew.
const scenario = (client, value) => {
  client.middlewareStack.add((next) => (args) => {
    args.request.headers['X-Fake'] = value;
    return next(args);
  }, { step: 'build' });
  return client;
};
const through = (token, vendor) => ({
  endpoint: world.base(vendor), region: 'us-east-1', credentials: { accessKeyId: 'AKIADUMMY', secretAccessKey: 'dummy', sessionToken: token },
});
const ask = { modelId: 'fake.model-v1:0', messages: [{ role: 'user', content: [{ text: 'Hello' }] }] };

async function converse(token, value, onPiece = () => {}) {
  let text = '';
  const client = scenario(new BedrockRuntimeClient(through(token, 'aws-bedrock')), value);
  const { stream } = await client.send(new ConverseStreamCommand(ask));
  for await (const event of stream) {
    text += event.contentBlockDelta?.delta.text ?? '';
    await onPiece(text);
  }
  return text;
}

test('bedrock: a token that is revoked cuts its stream with a readable error', async () => {
  const token = await world.token('aws-bedrock:chat');
  await world.release('bedrock', 3);
  let revoked = false;
  const error = await world.failure(() => converse(token, 'gate=bedrock', async (text) => {
    if (text !== 'Hello from' || revoked) return;
    revoked = true;
    await world.revoke(token);
  }));
  assert.match(error.message, /^keeper: .*revoked/);
});

test('bedrock: a stream with a secret is cut before it, with a readable error', async () => {
  const token = await world.token('aws-bedrock:chat');
  let seen = '';
  const error = await world.failure(() => converse(token, 'leak=text', (text) => { seen = text; }));
  assert.equal(seen, 'Hello from');
  assert.match(error.message, /^keeper: the answer holds a secret/);
});

test('s3: an object with a secret does not arrive', async () => {
  const token = await world.token('aws-s3:read');
  const client = scenario(new S3Client({ ...through(token, 'aws-s3'), forcePathStyle: true }), 'leak=text');
  const error = await world.failure(async () => (await client.send(new GetObjectCommand(object('hello.txt')))).Body.transformToString());
  assert.match(error.message, /^keeper: the answer holds a secret/);
});
