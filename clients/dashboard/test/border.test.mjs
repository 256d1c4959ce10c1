// Who gets in and how far: links, rights, the end of a session; and what stands between the
// dashboard and agents, and pages of other origins on the same machine.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, test } from 'node:test';
import { attack, call, day, enrol, open } from '../lib/traffic.mjs';
import { begin, journey, variants } from '../lib/visit.mjs';

const world = await open({ env: { KEEPER_ADMIN_ADDR: '127.0.0.1:0' } });
await day(world);
const [one] = variants;
const named = (what, { size, theme }) => `${what}-${size}-${theme}`;
const signedOut = ['401 /api/v1/auth/session'];

journey('a link signs in once, by being opened or pasted, and leaves nothing in the address', world, async (visit) => {
  const { page } = visit;
  const link = await visit.link();
  await page.goto(link);
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  assert.doesNotMatch(page.url(), /code=/);
  const again = await begin(world, visit.variant, signedOut);
  await again.page.goto(link);
  await again.page.getByText(/it works once/).waitFor();
  await again.page.getByLabel('Link or code').fill(await visit.link());
  await again.page.getByRole('button', { name: 'Sign in' }).click();
  await again.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  await again.end();
  assert.deepEqual(again.problems, []);
}, { token: null });

journey('whoever signs out is out, on every page and at every route', world, async (visit, { size }) => {
  const { page } = visit;
  await visit.go('Agents');
  await visit.row('release-bot').waitFor();
  if (size === 'phone') await page.getByRole('button', { name: 'Menu' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('You are signed out.').waitFor();
  assert.ok(!(await visit.held()).includes('release-bot'), 'the page still shows what was on it');
  await page.goto(`${world.management}/dashboard/#/agents`);
  await page.getByRole('heading', { level: 1, name: 'Sign in to keeper' }).waitFor();
  assert.equal(await page.evaluate(async () => (await fetch('/api/v1/agents')).status), 401);
}, { expected: [...signedOut, '401 /api/v1/agents'] });

journey('whoever may only look is shown only that, and told what it lacks', world, async (visit) => {
  const { page } = visit;
  await page.getByRole('link', { name: 'claude-code-mira' }).waitFor();
  for (const name of ['Agents', 'Tokens', 'Vault', 'Providers']) {
    await visit.go(name);
    await visit.settled();
    for (const act of [/^Approve/, /^Revoke /, /^Register/, /^Issue/, /^Rotate/, /^Delete/, /^Add/, /^Test/]) {
      assert.equal(await page.getByRole('main').getByRole('button', { name: act }).count(), 0, `${name}: a button for ${act}`);
    }
  }
  for (const [name, scope] of [['Audit', 'keeper:audit'], ['Scanner', 'keeper:scan']]) {
    await visit.go(name);
    await page.getByText(scope).first().waitFor();
    await visit.fits(name);
    await visit.accessible(name);
    await visit.picture(`without rights ${name}`);
  }
  await visit.go('Settings');
  await page.getByText('keeper:read').first().waitFor();
}, { token: (variant) => enrol(world, { agentId: named('viewer', variant), agentName: 'A viewer', scopes: ['keeper:read'] }) });

journey('a session ends with the token that it came from', world, async (visit, variant) => {
  const { page } = visit;
  await visit.go('Agents');
  await visit.row('release-bot').waitFor();
  await world.manage('POST', '/auth/revoke', { agentId: named('leaver', variant) });
  const ended = page.getByText('Your session has ended.');
  await Promise.race([ended.waitFor(), visit.go('Vault').catch(() => {})]); // whichever request comes first is refused
  await ended.waitFor();
  assert.ok(!(await visit.held()).includes('release-bot'), 'the page still shows what was on it');
}, {
  token: (variant) => enrol(world, { agentId: named('leaver', variant), agentName: 'A leaver', scopes: ['keeper:read'] }),
  expected: [...signedOut, ...['agents', 'vault', 'health', 'providers', 'stats'].map((route) => `401 /api/v1/${route}`)],
});

journey('who is signed in is seen in settings, and signed out from there', world, async (visit, variant) => {
  const { page } = visit;
  const guest = await begin(world, variant, [...signedOut, ...['agents', 'health', 'stats'].map((route) => `401 /api/v1/${route}`)]);
  await guest.signIn(await enrol(world, { agentId: named('guest', variant), agentName: attack.image, scopes: ['keeper:read'] }));
  await visit.go('Settings');
  const table = page.getByRole('table', { name: 'Sessions of the dashboard' });
  const row = table.getByRole('row').filter({ hasText: attack.image });
  await row.getByText('127.0.0.1').waitFor();
  assert.equal(await table.getByRole('row').filter({ hasText: 'this browser' }).count(), 1, 'sessions that are marked as one\'s own');
  assert.equal(await table.getByRole('row').filter({ hasText: 'this browser' }).getByRole('button').count(), 0, 'one\'s own session is ended by signing out');
  await table.scrollIntoViewIfNeeded();
  await visit.picture('sessions');
  await visit.fits('the sessions');
  await visit.accessible('the sessions');
  await guest.go('Settings');
  const seen = guest.page.getByRole('table', { name: 'Sessions of the dashboard' });
  await seen.getByText('this browser').waitFor();
  assert.equal(await seen.getByRole('button').count(), 0, 'buttons to end the sessions of others, for whoever may only look');
  await row.getByRole('button', { name: /^End the session/ }).click();
  await page.getByText(/its browser is signed out/).waitFor();
  await visit.gone(row);
  const ended = guest.page.getByText('Your session has ended.');
  await Promise.race([ended.waitFor(), guest.go('Vault').catch(() => {})]);
  await ended.waitFor();
  await guest.end();
  assert.deepEqual(guest.problems.filter((one) => !/^(status|console: Failed to load resource).* 401/.test(one)), []);
  const [{ details }] = (await world.audit('event=session.ended&limit=1000')).filter((one) => one.details.of === named('guest', variant));
  assert.deepEqual([details.by, details.reason], ['admin token', 'ended']);
});

test('agents\' listener has neither the dashboard nor its routes', async () => {
  const visit = await begin(world, one);
  await visit.signIn();
  for (const path of ['/', '/dashboard/', '/dashboard/js/app.js', '/api/v1/auth/session', '/api/v1/agents', '/api/v1/stats']) {
    const answer = await fetch(`${world.url}${path}`, { redirect: 'manual' });
    assert.equal(answer.status, 404, `${path} on the agents' listener`);
    await answer.text();
  }
  await visit.end();
});

// stranger is a page on another port of this machine: another origin, yet the same site, so
// that a browser sends keeper's cookie from it.
async function stranger() {
  const server = http.createServer((request, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>stranger</title>'));
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  after(() => server.close());
  return `http://127.0.0.1:${server.address().port}/`;
}

test('a page of another origin can neither act nor read with the cookie, nor frame the dashboard', async () => {
  const token = await enrol(world, { agentId: 'bystander', agentName: 'Bystander', scopes: ['openai:chat'] });
  const visit = await begin(world, one);
  await visit.signIn();
  await visit.page.goto(await stranger());
  const got = await visit.page.evaluate(async (keeper) => {
    const send = (method, path, mode, body, type) => fetch(`${keeper}/api/v1${path}`, { method, mode, credentials: 'include', body, headers: type && { 'content-type': type } })
      .then((answer) => answer.type, () => 'refused');
    return {
      sent: await send('POST', '/auth/revoke', 'no-cors', '{"agentId":"bystander"}', 'text/plain'),
      preflighted: await send('DELETE', '/agents/bystander', 'cors'),
      read: await send('GET', '/agents', 'cors'),
    };
  }, world.management);
  assert.deepEqual(got, { sent: 'opaque', preflighted: 'refused', read: 'refused' });
  const refused = visit.page.waitForEvent('console', (message) => message.text().includes('frame-ancestors'));
  await visit.page.evaluate((keeper) => {
    const frame = document.createElement('iframe');
    frame.src = `${keeper}/dashboard/`;
    document.body.append(frame);
  }, world.management);
  await refused;
  assert.equal((await world.manage('GET', '/agents/bystander')).agent.status, 'active');
  assert.equal((await call(world, token, 'openai', '/v1/models', { method: 'GET' })).status, 200);
  await visit.end();
});
