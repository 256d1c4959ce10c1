import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { has, run } from '../lib/command.mjs';
import { newKey } from '../lib/canary.mjs';
import { start } from '../lib/keeper.mjs';

assert.ok(await has('curl'), 'the curl program is missing');
const world = await start();
const good = await world.token('openai:chat');
const url = `${world.base('openai')}/v1/chat/completions`;
const ask = (more) => JSON.stringify({ model: 'gpt-fake', messages: [{ role: 'user', content: 'Hello' }], ...more });

function curlArgs({ token = good, scenario, body = ask(), more = [] }) {
  const args = ['-sS', '-H', `Authorization: Bearer ${token}`, '-H', 'Content-Type: application/json', ...more, '-d', body, url];
  return scenario ? ['-H', `X-Fake: ${scenario}`, ...args] : args;
}

async function curl(options) {
  const result = await run('curl', curlArgs({ ...options, more: ['-w', '\n%{http_code}', ...(options.more ?? [])] }));
  world.see(result.stdout + result.stderr);
  const at = result.stdout.lastIndexOf('\n');
  return { ...result, body: result.stdout.slice(0, at), status: Number(result.stdout.slice(at + 1)) };
}

test('curl: a plain call returns the provider\'s answer', async () => {
  const { body, status, code } = await curl({});
  assert.equal(code, 0);
  assert.equal(status, 200);
  assert.equal(JSON.parse(body).choices[0].message.content, 'Hello from the fake API.');
  const packed = await curl({ scenario: 'encoding=gzip', more: ['--compressed'] });
  assert.equal(JSON.parse(packed.body).choices[0].message.content, 'Hello from the fake API.');
});

test('curl -N: a stream shows each event before the provider sends the next', async () => {
  const child = spawn('curl', ['-N', ...curlArgs({ scenario: 'gate=curl', body: ask({ stream: true }) })], { env: { PATH: process.env.PATH } });
  let all = '';
  let events = 0;
  let seen = () => {};
  child.stdout.on('data', (chunk) => {
    all += chunk;
    events = all.split('\n\n').length - 1;
    seen();
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  for (let wanted = 1; wanted <= 8; wanted++) { // the role, five deltas, the end, [DONE]
    const arrived = new Promise((resolve) => { seen = () => events >= wanted && resolve(); });
    await world.release('curl');
    await arrived;
    assert.equal(events, wanted);
  }
  assert.equal(await exited, 0);
  assert.ok(all.endsWith('data: [DONE]\n\n'), `the end of the stream: ${JSON.stringify(all.slice(-40))}`);
});

test('curl: the provider\'s own error is passed through', async () => {
  const { body, status } = await curl({ scenario: 'error=400' });
  assert.equal(status, 400);
  assert.deepEqual(JSON.parse(body), {
    error: { message: 'The fake provider does not like this request.', type: 'invalid_request_error', param: null, code: null },
  });
});

test('curl: a stream that the provider breaks off ends with an error', async () => {
  const { code } = await curl({ scenario: 'abort=3', body: ask({ stream: true }) });
  assert.notEqual(code, 0);
});

test('curl: refusals say why', async () => {
  const cases = [
    [{ token: await world.token('stripe:read') }, 403, 'scope_denied'],
    [{ body: ask({ user: newKey('github') }) }, 403, 'secret_in_request'],
    [{ token: await world.revokedToken('openai:chat') }, 401, 'token_revoked'],
    [{ token: 'no-token' }, 401, 'token_invalid'],
  ];
  for (const [options, want, wantCode] of cases) {
    const { result, requests } = await world.arrived(() => curl(options));
    const said = JSON.parse(result.body);
    assert.equal(result.status, want, wantCode);
    assert.equal(said.error.code, wantCode);
    assert.match(said.message, /^keeper: /);
    assert.equal(said.error.message, said.message);
    assert.deepEqual(requests, []);
  }
});

test('curl: the token is taken from where the vendors\' clients put a key', async () => {
  const token = await world.token('gemini:chat');
  const generate = `${world.base('gemini')}/v1beta/models/gemini-fake:generateContent`;
  const basic = Buffer.from(`user:${token}`).toString('base64');
  for (const args of [[`${generate}?key=${token}`], ['-H', `x-goog-api-key: ${token}`, generate], ['-H', `api-key: ${token}`, generate], ['-H', `Authorization: Basic ${basic}`, generate]]) {
    const { result, requests } = await world.arrived(() => run('curl', ['-sS', '-H', 'Content-Type: application/json', '-d', '{"contents":[]}', ...args]));
    assert.match(world.see(result.stdout), /Hello from the fake API\./);
    assert.deepEqual(requests.map(({ credential, query }) => ({ credential, query })), [{ credential: world.keys.gemini, query: '' }]);
  }
});

test('curl: the key that a provider echoes is redacted', async () => {
  const { body } = await curl({ scenario: 'echo=headers' });
  assert.match(body, /\[REDACTED:vault:openai\]/);
});
