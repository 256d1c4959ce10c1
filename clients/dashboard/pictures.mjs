// The pictures of docs/dashboard.md: a minute and a half of a fleet's work, looked at. With
// `run --write` alone; it is no test, but fails where a page does what it must not.
import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { call, chat, day, knock, leak, open } from './lib/traffic.mjs';
import { begin } from './lib/visit.mjs';

const folder = fileURLToPath(new URL('../../docs/dashboard/', import.meta.url));
const limitBytes = 150 * 1024;
const workMillis = 90_000;

const world = await open();

// work lets the fleet call at an uneven pace; streams wait for their provider a while.
async function work(tokens, until) {
  const message = { model: 'claude-fake', max_tokens: 64, stream: true, messages: [{ role: 'user', content: 'Hello' }] };
  const gated = async (run, millis) => {
    const gate = `work-${Math.random()}`;
    const done = run(`gate=${gate}`);
    await wait(millis);
    await world.release(gate, 50);
    return done;
  };
  const kinds = [
    () => gated((fake) => call(world, tokens['claude-code-mira'], 'anthropic', '/v1/messages', { body: message, fake }), 180 + 500 * Math.random()),
    () => gated((fake) => call(world, tokens['nightly-eval'], 'openai', '/v1/chat/completions', { body: { ...message, model: 'gpt-fake' }, fake }), 120 + 300 * Math.random()),
    () => call(world, tokens['claude-code-mira'], 'github', '/repos/octo/hello', { method: 'GET' }),
    () => chat(world, tokens['release-bot']),
  ];
  for (let turn = 0; Date.now() < until; turn++) {
    const pace = 1.2 + Math.sin(turn / 7) + Math.sin(turn / 17);
    await Promise.all(Array.from({ length: Math.max(1, Math.round(pace * 2)) }, (_, i) => kinds[(turn + i) % kinds.length]()));
    if (turn % 9 === 4) await chat(world, tokens['nightly-eval'], 'Hello', 'leak=text');
    if (turn % 14 === 6) await leak(world, tokens['support-desk']);
    if (turn % 23 === 12) await call(world, tokens['support-desk'], 'stripe', '/v1/customers', { method: 'GET' });
    if (turn % 31 === 20) await chat(world, tokens['release-bot'], 'Hello', 'error=500');
    await wait(250);
  }
}

async function take(visit, name) {
  await visit.settled();
  const devtools = await visit.devtools();
  let size = Infinity;
  for (let quality = 90; size > limitBytes && quality > 30; quality -= 10) {
    const { data } = await devtools.send('Page.captureScreenshot', { format: 'webp', quality });
    const picture = Buffer.from(data, 'base64');
    size = picture.length;
    await writeFile(`${folder}${name}.webp`, picture);
  }
  assert.ok(size <= limitBytes, `${name} has ${size} bytes`);
}

async function visited(size, theme, look) {
  const visit = await begin(world, { size, theme, toString: () => `${size}, ${theme}` });
  await visit.signIn();
  await look(visit, visit.page);
  await visit.end();
  assert.deepEqual(visit.problems, []);
}

test('the pictures of the documents', async () => {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const tokens = await day(world);
  await work(tokens, Date.now() + workMillis);
  await knock(world, { agentId: 'docs-writer', agentName: 'Writes the release notes', scopes: ['openai:chat'] });

  await visited('desktop', 'light', async (visit, page) => {
    await take(visit, 'overview-light');
    await visit.go('Agents');
    await take(visit, 'agents');
    await page.getByRole('button', { name: 'Approve… docs-writer' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('searchbox', { name: 'Find a provider' }).fill('openai');
    await visit.unfold(dialog, 'OpenAI');
    await dialog.getByRole('checkbox', { name: /^chat openai:chat/ }).check();
    await take(visit, 'grant');
    await page.keyboard.press('Escape');
    await visit.go('Vault');
    await take(visit, 'vault');
    await visit.go('Scanner');
    await page.getByLabel('Text', { exact: true }).fill('The deploy failed. My settings:\n\nDATABASE_URL=postgres://app:correct-horse-battery@db.internal/app\nLOG_LEVEL=debug\n');
    await page.keyboard.press('Control+Enter');
    await page.getByText(/finding/).first().waitFor();
    await take(visit, 'scanner');
  });
  await visited('desktop', 'dark', async (visit, page) => {
    await take(visit, 'overview-dark');
    await visit.go('Audit');
    await page.getByLabel('Risk', { exact: true }).selectOption('1');
    await page.waitForURL(/minRisk=1/);
    await visit.row('Secret blocked').first().waitFor();
    await take(visit, 'audit');
    await page.getByRole('link', { name: 'Secret blocked' }).first().click();
    await page.getByRole('dialog').getByText('What happened').waitFor();
    await take(visit, 'story');
    await page.keyboard.press('Escape');
    await visit.go('Providers');
    await take(visit, 'providers');
    await visit.go('Settings');
    await take(visit, 'settings');
  });
  await visited('phone', 'light', async (visit, page) => {
    await take(visit, 'phone-overview');
    await visit.go('Agents');
    await take(visit, 'phone-agents');
    await page.getByRole('button', { name: 'Menu' }).click();
    await take(visit, 'phone-menu');
  });
});
