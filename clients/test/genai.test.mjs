import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GoogleGenAI } from '@google/genai';
import { GoogleGenAI as GoogleGenAI2 } from 'genai-2';
import { refusal, refusals, start } from '../lib/keeper.mjs';

const world = await start();
const good = await world.token('gemini:chat');
const text = 'Hello from the fake API.';
const redacted = 'Hello from the key is [REDACTED:vault:gemini] indeed the fake API.';

for (const [name, SDK] of [['genai 3', GoogleGenAI], ['genai 2', GoogleGenAI2]]) {
  const client = (token = good, at = world.url) => new SDK({ apiKey: token, httpOptions: { baseUrl: world.base('gemini', at) } });
  const ask = (scenario, prompt = 'Hello') => ({
    model: 'gemini-fake', contents: prompt, config: scenario && { httpOptions: { headers: { 'X-Fake': scenario } } },
  });
  const collect = async (stream) => {
    let all = '';
    for await (const chunk of stream) all += chunk.text ?? '';
    return world.see(all);
  };

  test(`${name}: plain calls return the provider's answer`, async () => {
    const { result, requests } = await world.arrived(() => client().models.generateContent(ask()));
    assert.equal(world.see(result).text, text);
    assert.equal(requests.length, 1);
    assert.equal(requests[0].credential, world.keys.gemini);
    assert.equal((await client().models.countTokens({ model: 'gemini-fake', contents: 'Hello' })).totalTokens, 7);
  });

  test(`${name}: a stream yields each event before the provider sends the next`, async () => {
    const gate = name.at(-1);
    const stream = await client().models.generateContentStream(ask(`gate=${gate}`));
    const got = [];
    for (let i = 0; i < 5; i++) {
      await world.release(gate);
      got.push((await stream.next()).value.text);
    }
    assert.equal((await stream.next()).done, true);
    assert.deepEqual(got, ['Hello', ' from', ' the', ' fake', ' API.']);
  });

  test(`${name}: the provider's own error is shown`, async () => {
    const error = await world.failure(() => client().models.generateContent(ask('error=400')));
    assert.equal(error.status, 400);
    assert.equal(JSON.parse(error.message).error.message, 'The fake provider does not like this request.');
  });

  for (const one of refusals) {
    test(`${name}: ${one.name} is a readable error at the first attempt`, async () => {
      const error = await refusal(world, one, 'gemini:chat', ({ at, token, prompt }) => client(token, at).models.generateContent(ask(undefined, prompt)));
      assert.equal(error.status, one.status);
      const said = JSON.parse(error.message); // this SDK shows the body as it is
      assert.match(said.error.message, /^keeper: /);
      assert.match(said.error.message, one.says);
      assert.equal(said.error.code, one.code);
    });
  }

  test(`${name}: a secret in an answer is redacted`, async () => {
    assert.equal(world.see(await client().models.generateContent(ask('leak=text'))).text, redacted);
    for (const leak of ['text', 'split']) {
      assert.equal(await collect(await client().models.generateContentStream(ask(`leak=${leak}`))), redacted, `leak=${leak}`);
    }
  });

  test(`${name}: a token that is revoked cuts its stream with a readable error`, async () => {
    for (let round = 0; round < 8; round++) { // the error must not lose a race with the connection's end
      const token = await world.token('gemini:chat');
      const gate = `revoked-${name.at(-1)}-${round}`;
      const stream = await client(token).models.generateContentStream(ask(`gate=${gate}`));
      await world.release(gate);
      await stream.next();
      await world.revoke(token);
      const error = await world.failure(async () => { for (;;) if ((await stream.next()).done) return 'a clean end'; });
      assert.match(error.message, /keeper: .*revoked/);
    }
  });
}
