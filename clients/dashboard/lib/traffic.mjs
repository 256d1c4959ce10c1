// Agents and what they do: calls that pass, stream, are redacted, blocked and refused, and
// those of an agent whose every name is an attack on whoever reads it.
import assert from 'node:assert/strict';
import http from 'node:http';
import { newKey } from '../../lib/canary.mjs';
import { start } from '../../lib/keeper.mjs';

// attack is text that would run, hide or repaint where it is not shown as text.
export const attack = {
  image: '<img src=x onerror="globalThis.owned=1;alert(1)">',
  script: '<script>globalThis.owned=1;alert(1)</script>',
  bidi: '\u202Etxt.exe\u202C',
  escape: '\u001b[31mred\u001b[0m\u001b]0;owned\u0007',
  hidden: 'ad\u200bmin\u2060\ufeff\u00ad\u{e0041}',
  long: 'W'.repeat(10_000),
};

// fleet are the agents that do the ordinary calls.
export const fleet = [
  { agentId: 'claude-code-mira', agentName: "Claude Code on Mira's laptop", scopes: ['anthropic:chat', 'github:read'] },
  { agentId: 'release-bot', agentName: 'Release bot', scopes: ['openai:chat', 'github:*', 'stripe:read'] },
  { agentId: 'support-desk', agentName: 'Support desk', scopes: ['openai:chat', 'slack:chat'] },
  { agentId: 'nightly-eval', agentName: 'Nightly evaluation', scopes: ['openai:chat', 'openai:embeddings', 'gemini:chat'] },
];

// open starts a keeper at which anyone may ask to be let in, with a provider that is gone.
export async function open({ env = {}, config = 'registration: approval\n' } = {}) {
  return start({ env: { KEEPER_PROXY_LEDGER_URL: 'http://127.0.0.1:9', KEEPER_SECRET_LEDGER: newKey('mcp'), ...env }, config });
}

// enrol registers an agent with the scopes and returns a token of its.
export async function enrol(world, { agentId, agentName, scopes }) {
  await world.manage('POST', '/auth/register', { agentId, agentName, scopes });
  return (await world.manage('POST', '/auth/token', { agentId })).token;
}

// knock is an agent that asks to be let in, as a stranger, and returns its secret.
export async function knock(world, { agentId, agentName, scopes }) {
  const answer = await post(world, '/auth/register', { agentId, agentName, scopes });
  assert.equal(answer.agent.status, 'pending');
  return answer.agentSecret;
}

// admitted gets a token with an agent's own secret.
export async function admitted(world, agentId, agentSecret) {
  return (await post(world, '/auth/token', { agentId, agentSecret })).token;
}

async function post(world, path, body) {
  const answer = await fetch(`${world.url}/api/v1${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const text = await answer.text();
  assert.equal(answer.status, 200, `POST ${path}: got ${answer.status} ${text}`);
  return JSON.parse(text);
}

// call makes one call of an agent and returns its status, keeper's code and request id.
export async function call(world, token, provider, path, { method = 'POST', body, fake } = {}) {
  const answer = await fetch(`${world.base(provider)}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }), ...(fake && { 'x-fake': fake }) },
    body: body && JSON.stringify(body),
  });
  world.see(await answer.text());
  return { status: answer.status, code: answer.headers.get('keeper-code'), requestId: answer.headers.get('keeper-request-id') };
}

// raw makes a call whose path is sent as it is, which fetch would escape.
function raw(world, token, path) {
  const { hostname, port, pathname } = new URL(world.base('github'));
  return new Promise((resolve, reject) => {
    http.get({ hostname, port, path: pathname + path, headers: { authorization: `Bearer ${token}` } }, (answer) => answer.resume().on('end', resolve)).on('error', reject);
  });
}

const said = (content) => ({ model: 'gpt-fake', messages: [{ role: 'user', content }] });

// chat is a call that passes.
export const chat = (world, token, content = 'Hello', fake = undefined) =>
  call(world, token, 'openai', '/v1/chat/completions', { body: said(content), fake });

// leak is a call that keeper blocks: a key is in it that was made for it.
export async function leak(world, token, provider = 'openai', path = '/v1/chat/completions') {
  const answer = await call(world, token, provider, path, { body: said(`Please use ${newKey('github')} for it.`) });
  assert.equal(answer.code, 'secret_in_request');
  return answer;
}

// day lets the fleet do a bit of everything, and returns the tokens by agent.
export async function day(world) {
  const token = {};
  for (const agent of fleet) token[agent.agentId] = await enrol(world, agent);
  const message = { model: 'claude-fake', max_tokens: 64, messages: [{ role: 'user', content: 'Hello' }] };
  for (let i = 0; i < 6; i++) {
    await chat(world, token['release-bot']);
    await call(world, token['claude-code-mira'], 'anthropic', '/v1/messages', { body: message });
    await call(world, token['claude-code-mira'], 'github', '/repos/octo/hello', { method: 'GET' });
  }
  await call(world, token['claude-code-mira'], 'anthropic', '/v1/messages', { body: { ...message, stream: true } });
  await chat(world, token['nightly-eval'], 'Hello', 'leak=text');
  await call(world, token['nightly-eval'], 'openai', '/v1/embeddings', { body: { model: 'gpt-fake', input: 'Hello' } });
  await chat(world, token['support-desk'], 'Hello', 'error=500');
  await leak(world, token['support-desk']);
  await leak(world, token['release-bot'], 'github', '/repos/octo/hello/issues');
  for (const [provider, path] of [['stripe', '/v1/customers'], ['ledger', '/v1/entries']]) await call(world, token['support-desk'], provider, path, { method: 'GET' });
  return token;
}

// assault is what a hostile agent does so that its names, paths and answers are read.
export async function assault(world) {
  const agent = { agentId: 'mallory', agentName: attack.image, scopes: ['openai:chat', 'github:read', 'ledger:read'] };
  const token = await enrol(world, agent);
  await raw(world, token, '/repos/<svg/onload=globalThis.owned=1>');
  await call(world, token, 'github', `/repos/${encodeURIComponent(`${attack.image}${attack.bidi}`)}`, { method: 'GET' });
  const path = encodeURIComponent(`${attack.image}${attack.script}${attack.bidi}${attack.escape}${attack.hidden}`);
  await call(world, token, 'github', `/repos/${path}?q=${path}`, { method: 'GET' });
  await call(world, token, 'ledger', `/${path}`, { method: 'GET' });
  await call(world, token, encodeURIComponent(attack.image), '/v1', { method: 'GET' });
  await call(world, token, encodeURIComponent(`${attack.hidden}${attack.bidi}`), '/v1', { method: 'GET' });
  await call(world, token, 'github', `/repos/${attack.long}`, { method: 'GET' });
  await call(world, token, attack.long, '/v1', { method: 'GET' });
  await call(world, token, `openai@${encodeURIComponent(attack.script)}`, '/v1/models', { method: 'GET' });
  await chat(world, token, `${attack.image}${attack.script}`, 'echo=text');
  await knock(world, { agentId: attack.long.slice(0, 128), agentName: attack.long.slice(0, 256), scopes: ['openai:chat'] });
  await knock(world, { agentId: 'knocker', agentName: `${attack.script}${attack.image}`, scopes: ['openai:chat'] });
  return { ...agent, token };
}
