// The clients of the matrix, as they are. Each is a small program that asks for one
// thing; only its environment differs between the modes. A cell says what must be seen
// (shows), whether the program fails, and how many calls of its task keeper refuses; note is what a
// reader should know of it. One that cannot hold says why (not), beside what is seen
// instead. none is why there is no such cell.

const here = new URL('programs/', import.meta.url).pathname;
const modules = new URL('../node_modules/', import.meta.url).pathname;
const claude = `${modules}@anthropic-ai/claude-code-${process.platform}-${process.arch}/claude`;
const codex = `${modules}.bin/codex`;
const node = (file) => ['node', '--no-warnings', here + file];
const python = (file, ...more) => ['/usr/bin/python3', here + file, ...more];
const shell = (file) => ['bash', here + file];

export const said = 'Hello from the fake API.';
const answer = { shows: /^Hello from the fake API\.$/m };
const pieces = { shows: /^Hello\n from\n the\n fake\n API\.$/m };
const blocked = { shows: /keeper: this request was blocked: it holds a secret/, fails: true, refused: 1 };
const revoked = { shows: /keeper: the token was revoked/, fails: true, refused: 1 };
const none = (reason) => ({ none: reason });
const noted = (cell, note, more) => ({ ...cell, ...more, note });
const noStreams = none('it has no streams');

const chatKey = (env) => ({ base: ({ base, token }) => ({ BASE: base, ...env(token) }) });
const openaiKey = chatKey((key) => ({ OPENAI_API_KEY: key }));
const goClient = process.env.GO_CLIENT; // built by clients/run
const goKey = { ...chatKey((key) => ({ GO_CLIENT: goClient, OPENAI_API_KEY: key })), proxied: { GO_CLIENT: goClient } };

const aws = (name) => ({
  base: ({ base, token }) => ({ [`AWS_ENDPOINT_URL_${name}`]: base, ...signing(token) }),
  bases: [`AWS_ENDPOINT_URL_${name}`, 'AWS_ENDPOINT_URL'],
  proxied: { ...region, ...dummyKeys },
});
const region = { AWS_REGION: 'us-east-1', AWS_DEFAULT_REGION: 'us-east-1', AWS_EC2_METADATA_DISABLED: 'true' };
const dummyKeys = { AWS_ACCESS_KEY_ID: 'AKIADUMMY', AWS_SECRET_ACCESS_KEY: 'dummy' };
const signing = (token) => ({ ...region, ...dummyKeys, AWS_SESSION_TOKEN: token });

// What these libraries call an error says the status and nothing of the answer.
const body = 'in the body of the answer; its own error says the status alone';
const inBody = { error: noted(blocked, body), revoked: noted(revoked, body) };

const cells = { plain: answer, stream: pieces, error: blocked, revoked };

const slackSays = 'in its log; the error has the code, as every error of Slack';
const retried = 'after five retries in eight seconds: Codex retries 401 and 403 whatever the answer says, unless stream_max_retries is set to 0';
const housekeeping = 'what it asks for beside its model (settings, plugins, telemetry) is refused, and it goes on without';
const challenged = noted(revoked, 'at the second attempt: git keeps the token back until it is asked for it');

export const clients = [
  {
    name: 'openai', npm: 'openai', provider: 'openai', scope: 'openai:chat', run: node('openai.mjs'), ...cells,
    base: ({ base, token }) => ({ OPENAI_BASE_URL: `${base}/v1`, OPENAI_API_KEY: token }),
    bases: ['OPENAI_BASE_URL', 'OPENAI_API_BASE'],
  },
  {
    name: '@anthropic-ai/sdk', npm: '@anthropic-ai/sdk', provider: 'anthropic', scope: 'anthropic:chat', run: node('anthropic.mjs'), ...cells,
    base: ({ base, token }) => ({ ANTHROPIC_BASE_URL: base, ANTHROPIC_AUTH_TOKEN: token }),
    bases: ['ANTHROPIC_BASE_URL'],
  },
  {
    name: 'ai + @ai-sdk/openai', npm: 'ai', provider: 'openai', scope: 'openai:chat', run: node('ai.mjs'), ...cells,
    base: ({ base, token }) => ({ OPENAI_BASE_URL: `${base}/v1`, OPENAI_API_KEY: token }),
    bases: ['OPENAI_BASE_URL', 'OPENAI_API_BASE'],
  },
  {
    name: 'ai + @ai-sdk/anthropic', npm: 'ai', provider: 'anthropic', scope: 'anthropic:chat', run: node('ai.mjs'), ...cells,
    base: ({ base, token }) => ({ AI_PROVIDER: 'anthropic', ANTHROPIC_BASE_URL: `${base}/v1`, ANTHROPIC_API_KEY: token }),
    bases: ['ANTHROPIC_BASE_URL'], proxied: { AI_PROVIDER: 'anthropic', ANTHROPIC_API_KEY: 'dummy' },
  },
  {
    name: '@google/genai', npm: '@google/genai', provider: 'gemini', scope: 'gemini:chat', run: node('genai.mjs'), ...cells,
    base: ({ base, token }) => ({ GOOGLE_GEMINI_BASE_URL: base, GEMINI_API_KEY: token }),
    bases: ['GOOGLE_GEMINI_BASE_URL'],
  },
  {
    name: '@octokit/rest', npm: '@octokit/rest', provider: 'github', scope: 'github:*', run: node('octokit.mjs'), ...cells, stream: noStreams,
    ...chatKey((key) => ({ GH_TOKEN: key })),
  },
  {
    name: '@slack/web-api', npm: '@slack/web-api', provider: 'slack', scope: 'slack:chat', run: node('slack.mjs'), ...cells, stream: noStreams,
    error: noted(blocked, slackSays), revoked: noted(revoked, slackSays),
    ...chatKey((key) => ({ SLACK_TOKEN: key })),
  },
  {
    name: 'stripe', npm: 'stripe', provider: 'stripe', scope: 'stripe:customers', listens: true, run: node('stripe.mjs'), ...cells, stream: noStreams,
    ...chatKey((key) => ({ STRIPE_API_KEY: key })),
  },
  {
    name: '@aws-sdk/client-bedrock-runtime', npm: '@aws-sdk/client-bedrock-runtime', provider: 'aws-bedrock', scope: 'aws-bedrock:*',
    run: node('bedrock.mjs'), ...cells, ...aws('BEDROCK_RUNTIME'),
  },
  {
    name: '@aws-sdk/client-s3', npm: '@aws-sdk/client-s3', provider: 'aws-s3', scope: 'aws-s3:*', run: node('s3.mjs'), ...cells, ...aws('S3'),
  },
  {
    name: '@modelcontextprotocol/sdk', npm: '@modelcontextprotocol/sdk', provider: 'mcp', scope: 'mcp:session', run: node('mcp.mjs'), ...cells,
    base: ({ base, token }) => ({ MCP_URL: base, MCP_TOKEN: token }),
    proxied: { MCP_URL: 'https://mcp.fake.example/', MCP_TOKEN: 'dummy' },
  },
  { name: 'axios', npm: 'axios', provider: 'openai', scope: 'openai:chat', run: node('axios.mjs'), ...cells, ...inBody, ...openaiKey },
  { name: 'curl', provider: 'openai', scope: 'openai:chat', run: shell('curl.sh'), ...cells, ...openaiKey, plain: { shows: /Hello from the fake API\./ }, stream: { shows: /"Hello"[^]*" API\."[^]*data: \[DONE\]/ } },
  { name: 'python3 requests', provider: 'openai', scope: 'openai:chat', run: python('chat.py'), more: ['requests'], ...cells, ...inBody, ...openaiKey },
  { name: 'python3 httpx', provider: 'openai', scope: 'openai:chat', run: python('chat.py'), more: ['httpx'], ...cells, ...inBody, ...openaiKey },
  { name: 'python3 boto3 (S3)', provider: 'aws-s3', scope: 'aws-s3:*', run: python('boto.py'), ...cells, ...aws('S3') },
  { name: 'Go, net/http', provider: 'openai', scope: 'openai:chat', run: shell('go.sh'), ...cells, ...goKey },
  {
    name: 'git clone', provider: 'github', scope: 'github:read', run: shell('git-clone.sh'), ...cells,
    error: noted(blocked, 'the secret is in the repository\'s name'),
    plain: { shows: /^Hello from the fake provider\.$/m }, stream: none('its packs are its plain calls'), revoked: challenged,
    ...git(),
  },
  {
    name: 'git push', provider: 'github', scope: 'github:*', run: shell('git-push.sh'), ...cells,
    plain: { shows: /^pushed$/m }, stream: { shows: /^pushed$/m }, revoked: challenged,
    ...git(),
  },
  {
    name: 'gh', provider: 'github', scope: 'github:*', listens: true, run: shell('gh.sh'), ...cells, stream: noStreams,
    base: ({ base, token, authority }) => ({ GH_HOST: new URL(base).host, GH_ENTERPRISE_TOKEN: token, SSL_CERT_FILE: authority }),
  },
  {
    name: 'Claude Code', npm: '@anthropic-ai/claude-code', provider: 'anthropic', scope: 'anthropic:chat', task: /^\/v1\/messages/, run: shell('claude.sh'), ...cells,
    'proxy:plain': noted(answer, housekeeping),
    stream: { shows: /"text":"Hello"[^]*"text":" from"[^]*"text":" API\."/ },
    base: ({ base, token }) => ({ CLAUDE: claude, ANTHROPIC_BASE_URL: base, ANTHROPIC_API_KEY: token }),
    bases: ['ANTHROPIC_BASE_URL', 'ANTHROPIC_AUTH_TOKEN'], proxied: { CLAUDE: claude, ANTHROPIC_API_KEY: 'dummy' },
  },
  {
    name: 'Codex', npm: '@openai/codex', provider: 'openai', scope: 'openai:chat', task: /^\/v1\/responses/, run: shell('codex.sh'), ...cells,
    'proxy:plain': noted(answer, housekeeping),
    stream: none('its plain run streams, and shows the whole'),
    error: noted(blocked, retried, { refused: 6 }), revoked: noted(revoked, retried, { refused: 6 }),
    ...chatKey((key) => ({ CODEX: codex, OPENAI_API_KEY: key })), proxied: { CODEX: codex },
  },
];

// git asks at github.com, and its own configuration leads it to keeper.
function git() {
  const common = { GIT_TERMINAL_PROMPT: '0', GIT_CONFIG_NOSYSTEM: '1' };
  return {
    base: ({ base, token }) => ({
      ...common, GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: `url.${base.replace('://', `://x-access-token:${token}@`)}/.insteadOf`,
      GIT_CONFIG_VALUE_0: 'https://github.com/',
    }),
  };
}

export const modes = [
  ['base', 'base URL', 'The client is told keeper\'s address in place of the vendor\'s, and the token in place of the key.'],
  ['proxy', 'keeper run, as a proxy', 'The client asks the vendor\'s own host, as installed, under `keeper run -- …`.'],
];

export const columns = [['plain', 'plain'], ['stream', 'streaming'], ['error', 'error shown'], ['revoked', 'revoked token']];
