// The keys and what is done about them: vault, providers, scanner, settings.
import assert from 'node:assert/strict';
import { newKey } from '../../lib/canary.mjs';
import { attack, call, chat, enrol, open } from '../lib/traffic.mjs';
import { journey } from '../lib/visit.mjs';

const world = await open({ env: { KEEPER_PROXY_ARCHIVE_URL: 'http://127.0.0.1:9' } });
const named = (what, { size, theme }) => `${what}-${size}-${theme}`;

journey('a credential is added, rotated, restricted and deleted, and its value is never seen again', world, async (visit, variant) => {
  const { page } = visit;
  const label = named('key', variant);
  const value = {};
  for (const which of ['first', 'second']) {
    value[which] = newKey('stripe');
    world.keys[`${which} of ${label}`] = value[which]; // searched for at the end, in all that keeper wrote
  }
  const mine = await enrol(world, { agentId: named('mine', variant), agentName: 'Mine', scopes: ['stripe:read'] });
  const other = await enrol(world, { agentId: named('other', variant), agentName: 'Other', scopes: ['stripe:read'] });
  const use = (token) => call(world, token, `stripe@${label}`, '/v1/customers', { method: 'GET' });
  const unseen = async () => {
    for (const secret of Object.values(value)) assert.ok(!(await visit.everything()).includes(secret), 'the value was answered, or is in the page');
  };

  await visit.go('Vault');
  await page.getByRole('button', { name: 'Add a credential' }).click();
  await page.getByLabel('Provider', { exact: true }).fill('stripe');
  await page.getByLabel('Label', { exact: true }).fill(label);
  await page.getByLabel('Value', { exact: true }).fill(value.first);
  await visit.fits('the form');
  await visit.accessible('the form', 'dialog[open]');
  await visit.picture('credential');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  const row = visit.row(label);
  await row.waitFor();
  await unseen();
  assert.equal((await use(mine)).status, 401, 'the provider was not asked with the new key, which it does not know');

  await page.getByRole('button', { name: `Rotate stripe ${label}` }).click();
  await page.getByLabel('New value').fill(value.second);
  await page.getByRole('radio', { name: 'Only these' }).check();
  await page.getByRole('checkbox', { name: named('mine', variant) }).check();
  await page.getByRole('button', { name: 'Rotate', exact: true }).click();
  await row.getByText(named('mine', variant)).waitFor();
  await unseen();
  const { secrets } = await world.manage('GET', '/vault');
  const kept = secrets.find((one) => one.label === label);
  assert.deepEqual([kept.version, kept.allowedAgents], [2, [named('mine', variant)]]);
  assert.equal((await use(other)).code, 'no_credential');

  await page.getByRole('button', { name: `Delete stripe ${label}` }).click();
  await page.getByLabel(/to confirm/).fill('stripe');
  await page.getByRole('button', { name: 'Delete the credential' }).click();
  await visit.gone(row);
  assert.equal((await use(mine)).code, 'no_credential');
  await unseen();
});

journey('a value that is refused is gone from the form once that is closed', world, async (visit) => {
  const { page } = visit;
  await visit.go('Vault');
  await page.getByRole('button', { name: 'Add a credential' }).click();
  await page.getByLabel('Provider', { exact: true }).fill('stripe');
  await page.getByLabel('Value', { exact: true }).fill('too short');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await page.getByRole('dialog').getByText(/^value: could not be told from ordinary text/).waitFor();
  await page.keyboard.press('Escape');
  await visit.gone(page.getByRole('dialog'));
  assert.ok(!(await visit.everything()).includes('too short'));
}, { expected: ['400 /api/v1/vault'] });

journey('a provider says what its scopes cover, and its credential is tested', world, async (visit, variant) => {
  const { page } = visit;
  const label = named('wrong', variant);
  await world.manage('POST', '/vault', { provider: 'stripe', label, value: newKey('stripe') });
  await visit.go('Providers');
  const card = (name) => page.getByRole('article').filter({ has: page.getByRole('heading', { name }) });
  await card('OpenAI openai').getByText(/what they cover/).click();
  await card('OpenAI openai').getByText('POST /v1/chat/completions').waitFor();
  await page.getByRole('button', { name: 'Test openai api-key' }).click();
  await card('OpenAI openai').getByText('works').waitFor();
  await page.getByRole('button', { name: `Test stripe ${label}` }).click();
  await card('Stripe').getByText('fails').waitFor();
  await card('Stripe').getByRole('link', { name: 'The call' }).click();
  await page.getByRole('dialog', { name: 'The story of a call' }).getByText(/did not take the credential/).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('searchbox').fill('anthropic');
  await page.waitForURL(/search=anthropic/);
  await visit.gone(card('OpenAI openai'));
  await visit.fits('providers');
});

journey('a text is scanned, and one value is let pass', world, async (visit) => {
  const { page } = visit;
  const key = newKey('github');
  await visit.go('Scanner');
  await page.getByLabel('Text', { exact: true }).fill(`${attack.image}\nGITHUB_TOKEN=${key}\n${attack.bidi}${attack.escape}`);
  await page.keyboard.press('Control+Enter');
  await page.getByText('A call with this text would be refused.').waitFor();
  const sanitized = page.getByLabel('The sanitized text');
  assert.match(await sanitized.textContent(), /<img src=x onerror=.*\nGITHUB_TOKEN=\[REDACTED:github-pat\]\n/);
  assert.ok(!(await sanitized.textContent()).includes('\u001b'), 'an escape is shown as it is');
  await visit.unharmed();
  await visit.fits('the result');
  await visit.accessible('the result');
  await visit.picture('scanned');
  await page.getByLabel('Text', { exact: true }).fill(`GITHUB_TOKEN=${key}`);
  await page.keyboard.press('Control+Enter');
  await page.getByRole('button', { name: 'Let it pass…' }).first().click();
  await page.getByRole('dialog').getByLabel('Reason').fill('an example that opens nothing');
  await page.getByRole('dialog').getByRole('button', { name: 'Let it pass' }).click();
  await page.getByText('This would pass.').waitFor();
  const token = await enrol(world, { agentId: named('quoting', visit.variant), agentName: 'Quoting', scopes: ['openai:chat'] });
  assert.equal((await chat(world, token, `the example ${key}`)).status, 200);

  await visit.go('Settings');
  await page.getByRole('button', { name: /^End the exception/ }).first().click();
  await page.getByText('No exception').waitFor();
  assert.equal((await chat(world, token, `the example ${key}`)).code, 'secret_in_request');
});

journey('settings show health, and the theme stays as chosen', world, async (visit, { theme }) => {
  const { page } = visit;
  await visit.go('Settings');
  await page.getByText('healthy', { exact: true }).waitFor();
  const other = theme === 'dark' ? 'Light' : 'Dark';
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await colour();
  await page.getByRole('button', { name: other, exact: true }).click();
  assert.notEqual(await colour(), before);
  const chosen = await colour();
  await page.reload();
  await page.getByRole('button', { name: other, exact: true, pressed: true }).waitFor();
  assert.equal(await colour(), chosen);
});
