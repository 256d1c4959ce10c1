// An OpenID provider that is as strict as a real one: it leads back to the registered
// address alone, wants state, nonce and a PKCE challenge, gives a code once, to the client
// that shows its secret and the verifier, and shows a page on which a person says who he is.
// What a client does wrong is noted in mistakes. It is on another site than keeper.
import { createHash, generateKeyPairSync, randomBytes, sign, timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import { after } from 'node:test';
import { newKey } from '../../lib/canary.mjs';

const random = () => randomBytes(24).toString('base64url');
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const same = (a, b) => timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
const codeSeconds = 60;

async function form(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}

// issuer starts one that knows people by what they are called: { Ann: { sub, groups } }.
export async function issuer(people) {
  const one = new Issuer(people);
  await new Promise((resolve) => { one.server.listen(0, '127.0.0.1', resolve); });
  one.url = `http://localhost:${one.server.address().port}`;
  after(() => {
    one.server.closeAllConnections();
    one.server.close();
  });
  return one;
}

class Issuer {
  #people; #keys = generateKeyPairSync('rsa', { modulusLength: 2048 }); #asked = new Map(); #codes = new Map();

  constructor(people) {
    this.#people = people;
    this.client = { id: 'keeper-dashboard', secret: newKey('mcp'), back: null };
    this.mistakes = [];
    this.server = http.createServer((request, response) => this.#serve(request, response).catch((error) => {
      this.mistakes.push(error.message);
      response.writeHead(400, { 'content-type': 'text/plain' }).end(error.message);
    }));
  }

  async #serve(request, response) {
    const at = new URL(request.url, this.url);
    const route = this[{ '/.well-known/openid-configuration': 'configuration', '/keys': 'keys', '/authorize': 'authorize', '/approve': 'approve', '/token': 'token' }[at.pathname]];
    if (!route) return response.writeHead(at.pathname === '/favicon.ico' ? 204 : 404).end();
    return route.call(this, { request, response, query: at.searchParams });
  }

  #json(response, value, status = 200) {
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(value));
  }

  configuration({ response }) {
    this.#json(response, {
      issuer: this.url, authorization_endpoint: `${this.url}/authorize`, token_endpoint: `${this.url}/token`, jwks_uri: `${this.url}/keys`,
      response_types_supported: ['code'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'],
      code_challenge_methods_supported: ['S256'], authorization_response_iss_parameter_supported: true,
    });
  }

  keys({ response }) {
    this.#json(response, { keys: [{ ...this.#keys.publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'RS256', use: 'sig' }] });
  }

  authorize({ response, query }) {
    const wrong = [
      [query.get('client_id') !== this.client.id, 'another client'],
      [query.get('redirect_uri') !== this.client.back, `leads back to ${query.get('redirect_uri')}, which is not registered`],
      [query.get('response_type') !== 'code', 'asks for no code'],
      [!query.get('scope')?.split(' ').includes('openid'), 'does not ask for openid'],
      [!(query.get('state')?.length >= 16), 'no state, or one that can be guessed'],
      [!(query.get('nonce')?.length >= 16), 'no nonce, or one that can be guessed'],
      [query.get('code_challenge_method') !== 'S256' || !/^[A-Za-z0-9_-]{43}$/.test(query.get('code_challenge') ?? ''), 'no challenge (RFC 7636)'],
    ].filter(([is]) => is).map(([, what]) => what);
    if (wrong.length) throw new Error(`authorize: ${wrong.join('; ')}`);
    const id = random();
    this.#asked.set(id, query);
    const buttons = Object.keys(this.#people).map((name) => `<button name="person" value="${name}">${name}</button>`).join(' ');
    response.writeHead(200, { 'content-type': 'text/html', 'referrer-policy': 'no-referrer' })
      .end(`<!doctype html><html lang="en"><title>Who are you?</title><h1>Who are you?</h1><form method="post" action="/approve"><input type="hidden" name="id" value="${id}">${buttons} <button name="person" value="">Nobody</button></form>`);
  }

  async approve({ request, response }) {
    const said = await form(request);
    const query = this.#asked.get(said.get('id'));
    this.#asked.delete(said.get('id'));
    if (!query) throw new Error('approve: nobody asked');
    const back = new URL(query.get('redirect_uri'));
    const code = random();
    if (said.get('person')) this.#codes.set(code, { query, person: this.#people[said.get('person')], until: Date.now() + codeSeconds * 1000 });
    const told = said.get('person') ? { code } : { error: 'access_denied', error_description: '<b>no</b>' };
    back.search = new URLSearchParams({ ...told, state: query.get('state'), iss: this.url });
    response.writeHead(302, { location: String(back) }).end();
  }

  async token({ request, response }) {
    const said = await form(request);
    const code = this.#codes.get(said.get('code'));
    this.#codes.delete(said.get('code'));
    const [id, secret] = Buffer.from((request.headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString().split(':').map(decodeURIComponent);
    const challenge = createHash('sha256').update(said.get('code_verifier') ?? '').digest('base64url');
    const wrong = [
      [request.method !== 'POST' || said.get('grant_type') !== 'authorization_code', 'another grant'],
      [id !== this.client.id || !same(secret ?? '', this.client.secret), 'the client is not proven'],
      [!code || Date.now() > code.until, 'the code was used, or is none'],
      [code && said.get('redirect_uri') !== code.query.get('redirect_uri'), 'another address to lead back to'],
      [code && challenge !== code.query.get('code_challenge'), 'the verifier is not the challenge\'s'],
    ].filter(([is]) => is).map(([, what]) => what);
    if (wrong.length) {
      this.mistakes.push(`token: ${wrong.join('; ')}`);
      return this.#json(response, { error: 'invalid_grant' }, 400);
    }
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: this.url, aud: this.client.id, iat: now, exp: now + 300, nonce: code.query.get('nonce'), ...code.person };
    const text = `${encoded({ alg: 'RS256', kid: 'one', typ: 'JWT' })}.${encoded(claims)}`;
    return this.#json(response, { access_token: random(), token_type: 'Bearer', expires_in: 300, id_token: `${text}.${sign('sha256', Buffer.from(text), this.#keys.privateKey).toString('base64url')}` });
  }
}
