// Every client, unmodified, in every cell of the matrix.
import assert from 'node:assert/strict';
import { mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { clients, columns, modes } from '../matrix/clients.mjs';
import { render } from '../matrix/document.mjs';
import { renderQuickStarts } from '../matrix/quickstart.mjs';
import { newKey } from '../lib/canary.mjs';
import { held, run } from '../lib/command.mjs';
import { start } from '../lib/keeper.mjs';

// Stripe's client knows no path, and gh no http.
const world = await start({
  listen: { stripe: '127.0.0.1:0', github: 'https://127.0.0.1:0' },
  config: 'providers:\n- {name: mcp, baseURL: "https://mcp.fake.example"}\n',
});

for (const [page, text] of [['clients.md', render()], ['quickstart.md', renderQuickStarts()]]) {
  test(`docs/${page} is what these tests hold`, async () => {
    assert.equal(await readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8'), text, 'run: clients/run --write');
  });
}

for (const [mode, title] of modes) {
  describe(title, { concurrency: 2 }, () => {
    for (const client of clients) {
      for (const [cell] of columns) {
        const want = client[`${mode}:${cell}`] ?? client[cell];
        if (want.shows) test(`${client.name}, ${title}, ${cell}`, async () => check(client, mode, cell, want));
      }
    }
  });
}

async function check(client, mode, cell, want) {
  const agent = await world.agent(client.scope);
  const home = await mkdtemp(join(world.folder, 'home-'));
  const args = [cell === 'stream' ? 'stream' : 'plain', cell === 'error' ? newKey('github') : 'Hello', ...(client.more ?? [])];
  const result = await led[mode](client, agent, [...client.run, ...args], { home, revoked: cell === 'revoked' });
  const output = world.see(`${result.stdout}\n${result.stderr}`);
  const entries = await world.audit(`agentId=${agent.agentId}&event=proxy.request`);
  const refused = entries.filter(({ details }) => details.decision === 'refuse' && (client.task ?? /./).test(details.path)).map(({ details }) => details);
  assert.match(output, want.shows);
  assert.equal(result.code === 0, !want.fails, `exit code ${result.code}; output:\n${output}`);
  assert.equal(refused.length, want.refused ?? 0, `calls that were refused: ${JSON.stringify(refused)}`);
  if (mode === 'proxy') assert.ok(entries.every(({ details }) => details.mode === 'forward'), `ways in: ${JSON.stringify(entries.map(({ details }) => details))}`);
}

// led are the ways in which a program is led to keeper.
const led = {
  // By its base URL.
  async base(client, { token }, [program, ...args], { home, revoked }) {
    if (revoked) await world.revoke(token);
    const base = client.listens ? await world.listener(client.provider) : world.base(client.provider);
    return run(program, args, { cwd: home, env: { HOME: home, LC_ALL: 'C.UTF-8', ...client.base({ base, token, authority: world.authority }) } });
  },

  // By keeper run, as its proxy: the base URLs that this sets as well are taken out.
  async proxy(client, { agentId }, command, { home, revoked }) {
    const { before: [program, ...before], env } = world.under(agentId);
    const unset = (client.bases ?? []).flatMap((name) => ['-u', name]);
    const set = Object.entries(client.proxied ?? {}).map(([name, value]) => `${name}=${value}`);
    const options = { cwd: home, env: { HOME: home, LC_ALL: 'C.UTF-8', ...env } };
    if (!revoked) return run(program, [...before, 'env', ...unset, ...set, ...command], options);
    return held(program, [...before, 'bash', '-c', 'echo ready; read -r; exec "$@"', 'bash', 'env', ...unset, ...set, ...command], options,
      () => world.manage('POST', '/auth/revoke', { agentId }));
  },
};
