// Agents and their tokens: let in, watched, stopped.
import assert from 'node:assert/strict';
import { admitted, call, chat, enrol, knock, leak, open } from '../lib/traffic.mjs';
import { journey } from '../lib/visit.mjs';

const world = await open();
const named = (what, { size, theme }) => `${what}-${size}-${theme}`;

journey('an agent that waits is approved, watched, read about, stopped and let in again', world, async (visit, variant) => {
  const { page } = visit;
  const id = named('newcomer', variant);
  const secret = await knock(world, { agentId: id, agentName: 'A newcomer', scopes: ['openai:chat'] });

  await visit.go('Agents');
  await visit.row(id).getByText('pending').waitFor();
  await page.getByRole('button', { name: `Approve… ${id}` }).click();
  const dialog = page.getByRole('dialog', { name: `Approve ${id}` });
  await dialog.getByRole('searchbox', { name: 'Find a provider' }).fill('openai');
  await visit.unfold(dialog, 'OpenAI');
  await dialog.getByText('POST /v1/chat/completions').first().waitFor(); // what the scope means
  await dialog.getByRole('checkbox', { name: /^chat openai:chat/ }).check();
  await visit.fits('the dialog');
  await visit.accessible('the grant', 'dialog[open]');
  await visit.picture('grant');
  await dialog.getByRole('button', { name: 'Approve' }).click();
  await dialog.waitFor({ state: 'hidden' });
  await visit.row(id).getByText('active').waitFor();
  assert.deepEqual((await world.manage('GET', `/agents/${id}`)).agent.scopes, ['openai:chat']);

  const token = await admitted(world, id, secret);
  await visit.go('Audit');
  await page.getByRole('button', { name: 'Live tail' }).click();
  await page.getByRole('status').getByText('live', { exact: true }).waitFor();
  assert.equal((await chat(world, token)).status, 200);
  await visit.row(id).filter({ hasText: 'Call ended' }).first().waitFor();
  const { requestId } = await leak(world, token);
  await visit.row(id).getByRole('link', { name: 'Secret blocked' }).click();
  const story = page.getByRole('dialog', { name: 'The story of a call' });
  await story.getByText(requestId).first().waitFor();
  await story.getByText(/The scan of the request found github-pat in body/).waitFor();
  await story.getByText(/Nothing was sent to the provider/).waitFor();
  await visit.fits('the story');
  await visit.accessible('the story', 'dialog[open]');
  await visit.picture('story');
  await page.keyboard.press('Escape');

  await visit.go('Agents');
  await page.getByRole('button', { name: `Revoke ${id}` }).click();
  await visit.row(id).getByText('revoked').waitFor();
  const refused = await chat(world, token);
  assert.deepEqual([refused.status, refused.code], [401, 'token_revoked']);
  await page.getByRole('button', { name: 'Undo' }).click();
  await visit.row(id).getByText('active').waitFor();
  assert.equal((await chat(world, token)).status, 401, 'the old token stays dead');
  assert.equal((await chat(world, await admitted(world, id, secret))).status, 200);
});

journey('an agent is registered, disabled, enabled and deleted', world, async (visit, variant) => {
  const { page } = visit;
  const id = named('made-here', variant);
  await visit.go('Agents');
  await page.getByRole('button', { name: 'Register an agent' }).click();
  await page.getByLabel('Id', { exact: true }).fill(id);
  await page.getByRole('textbox', { name: 'Another scope' }).fill('github:read');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await page.getByRole('button', { name: 'Register', exact: true }).click();
  const secret = await page.getByLabel('The agent secret', { exact: true }).textContent();
  await page.getByRole('button', { name: 'Done' }).click();
  assert.ok(!(await visit.held()).includes(secret), 'the secret is still in the page');
  const token = await admitted(world, id, secret);
  const read = () => call(world, token, 'github', '/repos/octo/hello', { method: 'GET' });
  assert.equal((await read()).status, 200);

  await visit.row(id).getByRole('link', { name: id }).click();
  await page.getByRole('heading', { level: 1, name: id }).waitFor();
  await page.getByRole('table', { name: 'Latest calls' }).getByText('/repos/octo/hello').first().waitFor();
  await page.getByRole('button', { name: `Disable ${id}` }).click();
  await page.getByRole('button', { name: `Enable ${id}` }).waitFor();
  assert.equal((await read()).status, 401);
  await page.getByRole('button', { name: `Enable ${id}` }).click();
  await page.getByRole('button', { name: `Disable ${id}` }).waitFor();
  assert.equal((await read()).status, 200);
  await page.getByRole('button', { name: `Delete… ${id}` }).click();
  const sure = page.getByRole('dialog').getByRole('button', { name: 'Delete the agent' });
  assert.ok(await sure.isDisabled(), 'deleted without the word');
  await page.getByLabel(/to confirm/).fill(id);
  await sure.click();
  await page.getByRole('heading', { level: 1, name: 'Agents' }).waitFor();
  await visit.gone(visit.row(id));
});

journey('a token is issued for less than the grant, shown once, and revoked', world, async (visit, variant) => {
  const { page } = visit;
  const id = named('worker', variant);
  await enrol(world, { agentId: id, agentName: 'Worker', scopes: ['openai:chat', 'github:read'] });
  await visit.go('Tokens');
  await page.getByRole('button', { name: 'Issue a token' }).click();
  await page.getByLabel('Agent', { exact: true }).selectOption(id);
  await page.getByLabel('Lives for').selectOption({ label: '1 hour' });
  await page.getByRole('checkbox', { name: 'github:read' }).uncheck();
  await page.getByRole('button', { name: 'Issue the token' }).click();
  const token = await page.getByLabel('The token', { exact: true }).textContent();
  await page.getByRole('button', { name: 'Done' }).click();
  assert.ok(!(await visit.held()).includes(token), 'the token is still in the page');
  assert.equal((await chat(world, token)).status, 200);
  assert.equal((await call(world, token, 'github', '/repos/octo/hello', { method: 'GET' })).code, 'scope_denied');

  const { jti } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  await visit.row(jti).waitFor();
  await page.getByRole('button', { name: `Revoke the token ${jti} of ${id}` }).click();
  await visit.gone(visit.row(jti));
  assert.equal((await chat(world, token)).code, 'token_revoked');
});

journey('the whole of it by keyboard alone', world, async (visit, variant) => {
  const { page } = visit;
  const id = named('typed', variant);
  await knock(world, { agentId: id, agentName: 'Typed', scopes: [] });
  await visit.tabTo(page.getByRole('link', { name: /Agents/ }), 'Menu');
  await page.keyboard.press('Enter');
  await visit.row(id).waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type(id);
  await visit.gone(visit.rows().nth(1));
  await visit.tabTo(page.getByRole('button', { name: `Approve… ${id}` }));
  await page.keyboard.press('Enter');
  await visit.tabTo(page.getByRole('textbox', { name: 'Another scope' }));
  await page.keyboard.type('openai:chat');
  await page.keyboard.press('Enter');
  await visit.tabTo(page.getByRole('dialog').getByRole('button', { name: 'Approve' }));
  await page.keyboard.press('Enter');
  await visit.row(id).getByText('active').waitFor();
  await visit.tabTo(page.getByRole('button', { name: `Revoke ${id}` }));
  await page.keyboard.press('Enter');
  await visit.row(id).getByText('revoked').waitFor();
  await visit.tabTo(page.getByRole('button', { name: 'Undo' }));
  await page.keyboard.press('Enter');
  await visit.row(id).getByText('active').waitFor();
});
