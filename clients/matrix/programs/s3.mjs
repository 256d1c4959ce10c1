// Plain: an object is put, and another read. Stream: it is put from a stream, which goes up in chunks with a checksum behind them, and read
// from one. The fake has one host, so the bucket is in the path.
import { Readable } from 'node:stream';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

const [, , how, prompt] = process.argv;
const s3 = new S3Client({ forcePathStyle: true });
const put = (Key, Body, more) => s3.send(new PutObjectCommand({ Bucket: 'fake', Key, Body, ...more }));
const read = async (Key) => (await s3.send(new GetObjectCommand({ Bucket: 'fake', Key }))).Body;
if (how === 'stream') {
  const lines = ['Hello\n', ' from\n', ' the\n', ' fake\n', ' API.\n', `${prompt}\n`];
  const length = lines.join('').length;
  await put('streamed.txt', Readable.from(lines.map((line) => Buffer.from(line))), { ContentLength: length });
  for await (const chunk of await read('streamed.txt')) process.stdout.write(chunk);
} else {
  await put('asked.txt', prompt);
  console.log(await (await read('hello.txt')).transformToString());
}
