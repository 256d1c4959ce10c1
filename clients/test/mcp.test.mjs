// What the matrix does not ask of MCP's client: streams that end early, and lists.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { start } from '../lib/keeper.mjs';

const world = await start();

async function connected(token, scenario = '') {
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(world.base('mcp')), {
    requestInit: { headers: { Authorization: `Bearer ${token}`, 'X-Fake': scenario } },
  }));
  return client;
}

test('mcp: tools are listed and called, and a secret in an answer is redacted', async () => {
  const client = await connected(await world.token('mcp:session'), 'leak=text');
  const { tools } = world.see(await client.listTools());
  assert.deepEqual(tools.map(({ name }) => name), ['say', 'tell']);
  assert.match(tools[0].description, /the key is \[REDACTED:vault:mcp\] indeed/);
  const result = world.see(await client.callTool({ name: 'say', arguments: {} }));
  assert.match(result.content[0].text, /the key is \[REDACTED:vault:mcp\] indeed/);
  await client.close();
});

test('mcp: a token that is revoked answers the call that is under way', async () => {
  const token = await world.token('mcp:session');
  const client = await connected(token, 'gate=mcp');
  let seen = () => {};
  const first = new Promise((resolve) => { seen = resolve; });
  const call = client.callTool({ name: 'tell', arguments: {} }, undefined, { onprogress: seen });
  await world.release('mcp');
  await first;
  const failed = world.failure(() => call);
  await world.revoke(token);
  const error = await failed;
  assert.equal(error.code, -32001);
  assert.match(error.message, /keeper: .*revoked/);
});

test('mcp: a session that is refused says why, and a stream by its status', async () => {
  const token = await world.token('openai:chat');
  const error = await world.failure(() => connected(token));
  assert.match(error.message, /-32001.*keeper: .*mcp:session/);
  const stream = await fetch(world.base('mcp'), { headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream' } });
  assert.equal(stream.status, 403);
  assert.match(world.see(await stream.text()), /"message":"keeper: /);
});
