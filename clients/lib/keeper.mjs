// A real keeper and a fake provider, each a process of its own, for one test
// file: start() brings them up, and after the file's tests they are stopped and
// everything that was written, logged or answered is searched for the keys.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { leaks, leaksInFolder, newKey, vendors } from './canary.mjs';

const binaries = { keeper: 'KEEPER_BIN', provider: 'FAKEPROVIDER_BIN' };

function binary(name) {
  const path = process.env[binaries[name]];
  assert.ok(path, `${binaries[name]} must name the binary; ./run builds it and sets it`);
  return path;
}

// launch starts a process and returns once its output shows its URL behind a
// text.
async function launch(command, args, env, before) {
  const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
  process.once('exit', () => child.kill('SIGKILL'));
  const self = { output: '' };
  const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
  let waiting = [];
  const read = (chunk) => {
    self.output += chunk;
    for (const look of waiting) look();
  };
  child.stdout.setEncoding('utf8').on('data', read);
  child.stderr.setEncoding('utf8').on('data', read);
  // shows returns the match once the output has one.
  self.shows = (pattern) => new Promise((resolve, reject) => {
    const look = () => {
      const found = pattern.exec(self.output);
      if (!found) return;
      waiting = waiting.filter((other) => other !== look);
      resolve(found);
    };
    waiting.push(look);
    look();
    exited.then((why) => reject(new Error(`${command} ended (${why}) before it showed ${pattern}:\n${self.output}`)));
    child.once('error', reject);
  });
  self.url = (await self.shows(new RegExp(`${before}(http://127\\.0\\.0\\.1:\\d+)`)))[1];
  self.stop = async (signal) => {
    child.kill(signal);
    return exited;
  };
  return self;
}

const variable = (vendor) => vendor.toUpperCase().replaceAll('-', '_');

// start brings a keeper and a provider up for the tests of one file. listen has the
// address of a listener of their own by provider; env has further variables of keeper's,
// and config is its configuration, as YAML.
export async function start({ listen = {}, env: more = {}, config = '' } = {}) {
  const keys = Object.fromEntries(vendors.map((vendor) => [vendor, newKey(vendor)]));
  const folder = await mkdtemp(join(tmpdir(), 'keeper-clients-'));
  const provider = await launch(binary('provider'), ['-watch-stdin', '-git', join(folder, 'git')],
    Object.fromEntries(vendors.map((vendor) => [`FAKE_KEY_${variable(vendor)}`, keys[vendor]])), '^');
  const admin = `admin_${randomBytes(24).toString('hex')}`;
  const env = { KEEPER_ADDR: '127.0.0.1:0', KEEPER_DATA: join(folder, 'data'), KEEPER_ADMIN_TOKEN: admin, HOME: folder };
  for (const vendor of vendors) {
    env[`KEEPER_PROXY_${variable(vendor)}_URL`] = `${provider.url}/${vendor}`;
    env[`KEEPER_SECRET_${variable(vendor)}_API_KEY`] = keys[vendor];
  }
  for (const [name, address] of Object.entries(listen)) env[`KEEPER_LISTEN_${variable(name)}`] = address;
  await writeFile(join(folder, 'keeper.yaml'), config);
  const keeper = await launch(binary('keeper'), ['serve', '--config', join(folder, 'keeper.yaml')], { ...env, ...more }, 'listens on ');
  const management = more.KEEPER_ADMIN_ADDR ? (await keeper.shows(/^management routes are on (\S+)$/m))[1] : keeper.url;
  const world = new World({ keys, folder, provider, keeper, admin, management });
  after(() => world.finish());
  return world;
}

class World {
  #admin; #folder; #keeper; #provider; #seen = []; #hops = []; #agents = 0;

  constructor({ keys, folder, provider, keeper, admin, management }) {
    this.keys = keys;
    this.management = management; // the root of the routes that agents do not need
    this.#folder = folder;
    this.#provider = provider;
    this.#keeper = keeper;
    this.#admin = admin;
    this.url = keeper.url;
    this.folder = folder;
  }

  // base is the root of a provider at keeper, or at a hop before it.
  base(provider, at = this.url) {
    return `${at}/api/v1/proxy/${provider}`;
  }

  // listener is the root of a provider that has a listener of its own.
  async listener(provider) {
    return (await this.#keeper.shows(new RegExp(`^${provider} is at (\\S+)\n`, 'm')))[1];
  }

  // authority is the file of the certificate that vouches for keeper's TLS.
  get authority() {
    return join(this.#folder, 'data', 'ca.pem');
  }

  // direct is the root of a vendor at the fake provider, past keeper.
  direct(vendor) {
    return `${this.#provider.url}/${vendor}`;
  }

  // under is what a command is run by so that keeper is its proxy, as an agent, and
  // the environment for it.
  under(agentId) {
    return {
      before: [binary('keeper'), 'run', '--quiet', '--config', join(this.#folder, 'keeper.yaml'), '--agent', agentId, '--'],
      env: { KEEPER_URL: this.url, KEEPER_ADMIN_TOKEN: this.#admin },
    };
  }

  // see keeps what an agent saw, for the search at the end, and returns it.
  see(value) {
    this.#seen.push(value instanceof Error
      ? `${value.message} ${value.stack} ${JSON.stringify({ ...value, headers: [...(value.headers ?? [])] })}`
      : typeof value === 'string' ? value : JSON.stringify(value));
    return value;
  }

  // failure runs what must fail and returns its error.
  async failure(run) {
    let result;
    try {
      result = await run();
    } catch (error) {
      return this.see(error);
    }
    this.see(result ?? '');
    assert.fail('got a success, want an error');
  }

  async manage(method, path, body) {
    const answer = await fetch(`${this.management}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#admin}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    const text = this.see(await answer.text());
    assert.equal(answer.status, 200, `${method} ${path}: got ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  // agent registers a new agent with the scopes and returns its id and a token of
  // its.
  async agent(...scopes) {
    const agentId = `agent-${++this.#agents}`;
    await this.manage('POST', '/auth/register', { agentId, agentName: agentId, scopes });
    return { agentId, token: (await this.manage('POST', '/auth/token', { agentId })).token };
  }

  async token(...scopes) {
    return (await this.agent(...scopes)).token;
  }

  revoke(token) {
    return this.manage('POST', '/auth/revoke', { token });
  }

  async revokedToken(...scopes) {
    const token = await this.token(...scopes);
    await this.revoke(token);
    return token;
  }

  async audit(filter) {
    return (await this.manage('GET', `/audit?${filter}`)).entries;
  }

  // provider steers the fake provider: requests, reset, gate/NAME?release=N.
  async provider(action, method = 'GET', body = undefined) {
    const answer = await fetch(`${this.#provider.url}/_fake/${action}`, { method, body: body && JSON.stringify(body) });
    assert.equal(answer.status, 200, `the provider's ${action}: got ${answer.status}`);
    return answer.json();
  }

  // arrived returns the requests that reached the provider while run ran, and
  // what run returned.
  async arrived(run) {
    await this.provider('reset', 'POST');
    const result = await run();
    return { result, requests: await this.provider('requests') };
  }

  release(gate, n = 1) {
    return this.provider(`gate/${gate}?release=${n}`, 'POST');
  }

  // hop is a listener before keeper that counts the attempts of a client and
  // changes nothing.
  async hop() {
    const hop = { attempts: 0 };
    const target = new URL(this.url);
    const server = http.createServer((incoming, outgoing) => {
      hop.attempts++;
      const onward = http.request({
        host: target.hostname, port: target.port, method: incoming.method, path: incoming.url, headers: incoming.headers,
      }, (answer) => {
        outgoing.writeHead(answer.statusCode, answer.rawHeaders);
        answer.pipe(outgoing);
      });
      onward.on('error', () => outgoing.destroy());
      incoming.pipe(onward);
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    hop.url = `http://127.0.0.1:${server.address().port}`;
    this.#hops.push(server);
    return hop;
  }

  // finish stops everything and searches it.
  async finish() {
    const violations = await this.provider('violations');
    this.see(await this.audit('limit=1000'));
    for (const server of this.#hops) {
      server.closeAllConnections();
      server.close();
    }
    const code = await this.#keeper.stop('SIGTERM');
    await this.#provider.stop('SIGTERM');
    const found = [
      ...leaks(this.keys, this.#seen.join('\n')).map((vendor) => `${vendor} in an answer or error`),
      ...leaks(this.keys, this.#keeper.output).map((vendor) => `${vendor} in keeper's output`),
      ...await leaksInFolder(this.keys, join(this.#folder, 'data')),
    ];
    await rm(this.#folder, { recursive: true });
    assert.deepEqual(found, [], 'keys were found');
    assert.deepEqual(violations, [], 'the provider got what it must not');
    assert.equal(code, 0, `keeper's exit code after SIGTERM; its output:\n${this.#keeper.output}`);
  }
}

// refusals are what every client must show at its first attempt. Each makes a
// token of a scope that is good for the call and says how the call is spoilt.
export const refusals = [
  { name: 'a scope that does not cover the call', code: 'scope_denied', status: 403, says: /scope/, token: (world) => world.token('stripe:read') },
  { name: 'a secret in the request', code: 'secret_in_request', status: 403, says: /github/i, token: (world, scope) => world.token(scope), secret: true },
  { name: 'a revoked token', code: 'token_revoked', status: 401, says: /revoked/, token: (world, scope) => world.revokedToken(scope) },
];

// refusal runs call through a counting hop, and asserts that keeper refused it
// once and that nothing went to the provider. It returns the client's error.
export async function refusal(world, { token, secret }, scope, call) {
  const hop = await world.hop();
  const given = await token(world, scope);
  const prompt = secret ? `Please use ${newKey('github')} for it.` : 'Hello';
  const { result: error, requests } = await world.arrived(() => world.failure(() => call({ at: hop.url, token: given, prompt })));
  assert.equal(hop.attempts, 1, `attempts of the client; its error: ${error.message}`);
  assert.deepEqual(requests, [], 'requests that reached the provider');
  return error;
}
