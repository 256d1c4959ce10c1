// The ways in that need no account at keeper: an organisation's own sign-in, by a strict
// issuer on another site; and the pages that anybody may read.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { issuer } from '../lib/issuer.mjs';
import { attack, day, open } from '../lib/traffic.mjs';
import { journey } from '../lib/visit.mjs';

const people = {
  Ann: { sub: 'ann', email: 'ann@acme.example', email_verified: true, groups: ['keeper-operators'] },
  Vic: { sub: 'vic', email: 'vic@acme.example', email_verified: true, groups: ['staff'] },
  Mallory: { sub: `${attack.image}${attack.bidi}`, groups: ['visitors'] },
};
const strict = await issuer(people);
const folder = await mkdtemp(join(tmpdir(), 'keeper-issuer-'));
after(() => rm(folder, { recursive: true }));
await writeFile(join(folder, 'secret'), strict.client.secret, { mode: 0o600 });
const world = await open({
  config: `registration: approval
dashboard:
  oidc:
    issuer: ${strict.url}
    clientId: ${strict.client.id}
    clientSecretFile: ${join(folder, 'secret')}
    ask: [profile, email, groups]
    rules:
      - name: operators
        match: {groups: keeper-operators}
        scopes: ["*"]
      - name: viewers
        match: {email: {glob: "*@acme.example"}}
        scopes: [keeper:read, keeper:audit]
`,
});
world.keys['client secret'] = strict.client.secret;
strict.client.back = `${world.management}/api/v1/auth/oidc/callback`;
await day(world);

const nobody = { token: null, expected: ['401 /api/v1/auth/session'], hosts: [strict.url] };

async function signInAs(visit, person) {
  await visit.page.getByRole('link', { name: 'Sign in with your organisation' }).click();
  await visit.page.getByRole('heading', { name: 'Who are you?' }).waitFor();
  await visit.page.getByRole('button', { name: person, exact: true }).click();
}

journey('a person signs in at the issuer, lands on the page that was asked for, and signs out', world, async (visit, { size }) => {
  const { page } = visit;
  await page.goto(`${world.management}/dashboard/#/audit?agentId=release-bot`);
  await page.getByRole('heading', { level: 1, name: 'Sign in to keeper' }).waitFor();
  await visit.picture('sign in at an issuer');
  await visit.fits('the way in');
  await visit.accessible('the way in');
  await signInAs(visit, 'Ann');
  await page.getByRole('heading', { level: 1, name: 'Audit' }).waitFor();
  await visit.row('release-bot').first().waitFor();
  assert.equal(await visit.row('support-desk').count(), 0, 'the filter of the page that was asked for is gone');
  assert.match(page.url(), /#\/audit\?agentId=release-bot$/, 'what the address holds');
  const [cookie] = (await page.context().cookies()).filter((one) => one.name.includes('keeper'));
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ['keeper_session', true, 'Strict']);
  const { sessions } = await world.manage('GET', '/auth/sessions');
  const own = sessions.find((one) => one.by === 'oidc:ann@acme.example');
  assert.deepEqual([own.how, own.scopes], ['oidc', ['*']]);
  if (size === 'phone') await page.getByRole('button', { name: 'Menu' }).click();
  await page.getByText('ann@acme.example', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('You are signed out.').waitFor();
  await page.getByRole('link', { name: 'Sign in with your organisation' }).waitFor();
  assert.equal(await page.evaluate(async () => (await fetch('/api/v1/agents')).status), 401);
}, { ...nobody, expected: [...nobody.expected, '401 /api/v1/agents'] });

journey('a person is shown what the rule says, and no more', world, async (visit) => {
  const { page } = visit;
  await page.goto(`${world.management}/`);
  await signInAs(visit, 'Vic');
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  assert.doesNotMatch(page.url(), /key=/);
  await visit.go('Scanner');
  await page.getByText('keeper:scan').first().waitFor();
}, nobody);

journey('whom no rule lets in is told so, and what to do', world, async (visit) => {
  const { page } = visit;
  await page.goto(`${world.management}/dashboard/#/vault`);
  await signInAs(visit, 'Mallory');
  await page.getByRole('heading', { level: 1, name: 'Sign in to keeper' }).waitFor();
  await page.getByText(/no rule of this keeper lets you in/).waitFor();
  await visit.picture('not allowed');
  await visit.fits('the refusal');
  await visit.accessible('the refusal');
  await visit.unharmed();
  assert.equal((await page.context().cookies()).filter((one) => one.name.includes('keeper')).length, 0, 'cookies of somebody who is not let in');
  await signInAs(visit, 'Nobody');
  await page.getByText(/sign-in was broken off/).waitFor();
  await signInAs(visit, 'Ann');
  await page.getByRole('heading', { level: 1, name: 'Vault' }).waitFor();
}, nobody);

journey('another browser than the one that was sent gets nothing of the way back', world, async (visit) => {
  const { page } = visit;
  await page.goto(`${world.management}/`);
  await page.getByRole('link', { name: 'Sign in with your organisation' }).click();
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
  await page.context().clearCookies();
  await page.getByRole('button', { name: 'Ann' }).click();
  await page.getByText(/sign-in was broken off/).waitFor();
  assert.equal(await page.evaluate(async () => (await fetch('/api/v1/agents')).status), 401);
}, { ...nobody, expected: [...nobody.expected, '401 /api/v1/agents'] });

for (const path of ['', '/errors', '/errors/scope_denied', '/configuration', '/quickstart', '/dashboard']) {
  journey(`the page /docs${path} is whole for whoever reads it`, world, async (visit) => {
    const { page } = visit;
    await page.goto(`${world.management}/docs${path}`);
    await page.getByRole('heading', { level: 1 }).first().waitFor();
    await visit.picture(`docs${path}`);
    await visit.fits(path);
    await visit.accessible(path);
  }, { token: null });
}

journey('a route is found among all, with its fields and errors', world, async (visit, { size }) => {
  const { page } = visit;
  await page.goto(`${world.management}/docs/api`);
  await page.getByRole('heading', { level: 1, name: 'The HTTP API' }).waitFor();
  await visit.picture('docs api');
  await visit.fits('all routes');
  assert.equal(await page.getByRole('link', { name: /List the agents/ }).isVisible(), size === 'desktop', 'the list of routes beside them, or folded above them');
  await page.getByRole('searchbox', { name: 'Search' }).fill('sessions living');
  await page.getByText(/^\d of \d\d$/).waitFor();
  await page.getByRole('link', { name: /List the living sessions/ }).click();
  const call = page.getByRole('article').filter({ has: page.getByRole('heading', { name: 'GET /api/v1/auth/sessions', exact: true }) });
  await call.getByText('403').click();
  await visit.picture('docs api found');
  await visit.fits('what was found');
  await visit.accessible('what was found', 'header', '.contents', '[data-call="listSessions"]'); // the other routes are made by the same template
  await call.getByRole('link', { name: 'scope_denied' }).click();
  await page.getByRole('heading', { level: 1, name: 'scope_denied' }).waitFor();
}, { token: null });

test('the issuer had nothing to find fault with', () => assert.deepEqual(strict.mistakes, []));
