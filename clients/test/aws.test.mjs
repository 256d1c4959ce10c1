// The fake S3 is as strict as AWS: it takes what AWS's own client signs with the right
// key, chunks and trailers too, and nothing else.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
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
