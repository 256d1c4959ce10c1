import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { refusal, refusals, start } from '../lib/keeper.mjs';

const world = await start();
const good = await world.token('anthropic:chat');
const text = 'Hello from the fake API.';
const redacted = 'Hello from the key is [REDACTED:vault:anthropic] indeed the fake API.';
const fake = (scenario) => ({ headers: { 'X-Fake': scenario } });
const ask = (prompt = 'Hello') => ({ model: 'claude-fake', max_tokens: 64, messages: [{ role: 'user', content: prompt }] });
const ofDelta = (event) => event.delta?.text ?? '';

// Both ways in which users give the key.
for (const option of ['apiKey', 'authToken']) {
  const client = (token = good, at = world.url) => new Anthropic({ apiKey: null, authToken: null, [option]: token, baseURL: world.base('anthropic', at) });

  test(`anthropic with ${option}: plain calls return the provider's answer`, async () => {
    const { result, requests } = await world.arrived(() => client().messages.create(ask()));
    assert.equal(world.see(result).content[0].text, text);
    assert.equal(requests.length, 1);
    assert.equal(requests[0].credential, world.keys.anthropic);
    assert.equal((await client().messages.countTokens({ model: 'claude-fake', messages: ask().messages })).input_tokens, 7);
    assert.equal((await client().models.list()).data[0].id, 'claude-fake');
  });

  test(`anthropic with ${option}: a stream yields each event before the provider sends the next`, async () => {
    const stream = await client().messages.create({ ...ask(), stream: true }, fake(`gate=${option}`));
    const events = stream[Symbol.asyncIterator]();
    const got = [];
    for (const kind of ['message_start', 'content_block_start', 'ping']) {
      await world.release(option);
      if (kind === 'ping') continue; // the SDK keeps pings to itself
      assert.equal((await events.next()).value.type, kind);
    }
    for (let i = 0; i < 5; i++) {
      await world.release(option);
      got.push(ofDelta((await events.next()).value));
    }
    assert.deepEqual(got, ['Hello', ' from', ' the', ' fake', ' API.']);
    await world.release(option, 3);
    let last;
    for (let next = await events.next(); !next.done; next = await events.next()) last = next.value.type;
    assert.equal(last, 'message_stop');
  });

  test(`anthropic with ${option}: the stream helper collects the message`, async () => {
    const message = await client().messages.stream(ask()).finalMessage();
    assert.equal(world.see(message).content[0].text, text);
    assert.equal(message.stop_reason, 'end_turn');
  });

  test(`anthropic with ${option}: the provider's own error is shown`, async () => {
    const error = await world.failure(() => client().messages.create(ask(), fake('error=400')));
    assert.equal(error.status, 400);
    assert.match(error.message, /The fake provider does not like this request\./);
    const { result, requests } = await world.arrived(() => world.failure(() => client().messages.create(ask(), fake('error=429'))));
    assert.equal(result.status, 429);
    assert.equal(requests.length, 3);
  });

  for (const one of refusals) {
    test(`anthropic with ${option}: ${one.name} is a readable error at the first attempt`, async () => {
      const error = await refusal(world, one, 'anthropic:chat', ({ at, token, prompt }) => client(token, at).messages.create(ask(prompt)));
      assert.match(error.message, new RegExp(`^(${one.status} )?keeper: `));
      assert.match(error.message, one.says);
      assert.equal(error.status, one.status);
      assert.equal(error.headers.get('keeper-code'), one.code);
    });
  }

  test(`anthropic with ${option}: a secret in an answer is redacted`, async () => {
    const answer = await client().messages.create(ask(), fake('leak=text'));
    assert.equal(world.see(answer).content[0].text, redacted);
    for (const leak of ['text', 'split']) {
      let all = '';
      for await (const event of await client().messages.create({ ...ask(), stream: true }, fake(`leak=${leak}`))) all += ofDelta(event);
      assert.equal(world.see(all), redacted, `leak=${leak}`);
    }
    const tool = await client().messages.stream(ask(), fake('leak=split;shape=tool')).finalMessage();
    assert.deepEqual(world.see(tool).content[0].input, { text: redacted });
  });

  test(`anthropic with ${option}: a token that is revoked cuts its stream with a readable error`, async () => {
    for (let round = 0; round < 8; round++) { // the error must not lose a race with the connection's end
      const token = await world.token('anthropic:chat');
      const gate = `revoked-${option}-${round}`;
      const stream = await client(token).messages.create({ ...ask(), stream: true }, fake(`gate=${gate}`));
      const events = stream[Symbol.asyncIterator]();
      await world.release(gate);
      await events.next();
      await world.revoke(token);
      const error = await world.failure(async () => { for (;;) if ((await events.next()).done) return 'a clean end'; });
      assert.match(error.message, /keeper: .*revoked/);
    }
  });
}

test('anthropic: a dummy key beside the token stays at keeper', async () => {
  const dummy = 'sk-dummy-of-the-app';
  await world.provider('forbid', 'POST', { values: [dummy] });
  const client = new Anthropic({ apiKey: null, authToken: good, baseURL: world.base('anthropic'), defaultHeaders: { 'x-api-key': dummy } });
  const { result, requests } = await world.arrived(() => client.messages.create(ask()));
  assert.equal(result.content[0].text, text);
  assert.equal(requests[0].credential, world.keys.anthropic);
});
