import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import OpenAI6 from 'openai-6';
import { refusal, refusals, start } from '../lib/keeper.mjs';

const world = await start();
const good = await world.token('openai:chat', 'openai:embeddings');
const text = 'Hello from the fake API.';
const fake = (scenario) => ({ headers: { 'X-Fake': scenario } });
const ask = (prompt = 'Hello') => ({ model: 'gpt-fake', messages: [{ role: 'user', content: prompt }] });

async function collect(stream, piece) {
  let all = '';
  for await (const event of stream) all += piece(event) ?? '';
  return world.see(all);
}
const ofChat = (chunk) => chunk.choices[0]?.delta?.content;
const ofResponses = (event) => (event.type === 'response.output_text.delta' ? event.delta : '');

for (const [name, SDK] of [['openai 7', OpenAI], ['openai 6', OpenAI6]]) {
  const client = (token = good, at = world.url) => new SDK({ apiKey: token, baseURL: `${world.base('openai', at)}/v1` });

  test(`${name}: plain calls return the provider's answer`, async () => {
    const { result, requests } = await world.arrived(() => client().chat.completions.create(ask()));
    assert.equal(world.see(result).choices[0].message.content, text);
    assert.equal(requests.length, 1);
    assert.equal(requests[0].credential, world.keys.openai);
    const response = await client().responses.create({ model: 'gpt-fake', input: 'Hello' });
    assert.equal(world.see(response).output_text, text);
    const vectors = await client().embeddings.create({ model: 'gpt-fake', input: 'Hello', encoding_format: 'float' });
    assert.deepEqual(vectors.data[0].embedding, [0.5, -0.25, 0.125]);
    const models = await client().models.list();
    assert.equal(models.data[0].id, 'gpt-fake');
  });

  test(`${name}: a chat stream yields each event before the provider sends the next`, async () => {
    const gate = `chat-${name.at(-1)}`;
    const stream = await client().chat.completions.create({ ...ask(), stream: true }, fake(`gate=${gate}`));
    const events = stream[Symbol.asyncIterator]();
    const got = [];
    for (let i = 0; i < 7; i++) { // the role, five deltas, the end
      await world.release(gate);
      got.push(ofChat((await events.next()).value) ?? '');
    }
    await world.release(gate); // [DONE]
    assert.equal((await events.next()).done, true);
    assert.deepEqual(got, ['', 'Hello', ' from', ' the', ' fake', ' API.', '']);
  });

  test(`${name}: a responses stream ends with the whole response`, async () => {
    const stream = await client().responses.create({ model: 'gpt-fake', input: 'Hello', stream: true });
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    assert.equal(kinds[0], 'response.created');
    assert.equal(kinds.at(-1), 'response.completed');
    assert.equal(kinds.filter((kind) => kind === 'response.output_text.delta').length, 5);
  });

  test(`${name}: the provider's own error is shown, and its rate limit retried`, async () => {
    const error = await world.failure(() => client().chat.completions.create(ask(), fake('error=400')));
    assert.equal(error.status, 400);
    assert.equal(error.message, '400 The fake provider does not like this request.');
    const { result, requests } = await world.arrived(() => world.failure(() => client().chat.completions.create(ask(), fake('error=429'))));
    assert.equal(result.status, 429);
    assert.equal(result.code, 'rate_limit_exceeded');
    assert.equal(requests.length, 3);
  });

  for (const one of refusals) {
    test(`${name}: ${one.name} is a readable error at the first attempt`, async () => {
      const error = await refusal(world, one, 'openai:chat', ({ at, token, prompt }) => client(token, at).chat.completions.create(ask(prompt)));
      assert.match(error.message, new RegExp(`^${one.status} keeper: `));
      assert.match(error.message, one.says);
      assert.equal(error.code, one.code);
      assert.ok(error instanceof (one.status === 401 ? SDK.AuthenticationError : SDK.PermissionDeniedError), `class of ${error.name}`);
    });
  }

  test(`${name}: a stream that keeper refuses is a readable error too`, async () => {
    const error = await refusal(world, refusals[1], 'openai:chat', ({ at, token, prompt }) => client(token, at).responses.create({ model: 'gpt-fake', input: prompt, stream: true }));
    assert.match(error.message, /^403 keeper: /);
  });

  test(`${name}: a secret in an answer is redacted`, async () => {
    const answer = await client().chat.completions.create(ask(), fake('leak=text'));
    assert.equal(world.see(answer).choices[0].message.content, 'Hello from the key is [REDACTED:vault:openai] indeed the fake API.');
    for (const leak of ['text', 'split']) {
      const chat = await client().chat.completions.create({ ...ask(), stream: true }, fake(`leak=${leak}`));
      assert.equal(await collect(chat, ofChat), 'Hello from the key is [REDACTED:vault:openai] indeed the fake API.', `chat, leak=${leak}`);
      const responses = await client().responses.create({ model: 'gpt-fake', input: 'Hello', stream: true }, fake(`leak=${leak}`));
      assert.equal(await collect(responses, ofResponses), 'Hello from the key is [REDACTED:vault:openai] indeed the fake API.', `responses, leak=${leak}`);
    }
    const error = await world.failure(() => client().chat.completions.create(ask(), fake('error=400;leak=error')));
    assert.match(error.message, /\[REDACTED:vault:openai\]/);
  });

  test(`${name}: a token that is revoked cuts its stream with a readable error`, async () => {
    for (let round = 0; round < 8; round++) { // the error must not lose a race with the connection's end
      const token = await world.token('openai:chat');
      const gate = `revoked-${name.at(-1)}-${round}`;
      const stream = await client(token).chat.completions.create({ ...ask(), stream: true }, fake(`gate=${gate}`));
      const events = stream[Symbol.asyncIterator]();
      await world.release(gate);
      await events.next();
      await world.revoke(token);
      const error = await world.failure(async () => { for (;;) if ((await events.next()).done) return 'a clean end'; });
      assert.match(error.message, /keeper: .*revoked/);
    }
  });
}
