// A quick start for each client of the matrix, made of what the tests run: docs/quickstart.md.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { clients } from './clients.mjs';

const intro = `# Quick starts

One for each client that keeper is held to. The settings and programs are those that the
tests run in every change ([clients.md](clients.md) has what came of it); this page is
made of them by \`clients/run --write\`.

First a keeper with the provider's key, and an agent. With \`keeper dev\`, or as its
operator with \`keeper serve\`:

\`\`\`sh
keeper secret set openai                       # asks for the key, or reads a pipe
keeper agent add bot --scopes openai:chat      # what it may do
\`\`\`

Then each client has two ways:

- **under \`keeper run\`**: nothing to set; the client asks the vendor's own host, and
  neither key nor token is in its environment. \`keeper setup\` does the same once for
  all for the tools that it knows.
- **by its base URL**: keeper's address in place of the vendor's, and a token in place of
  the key: \`TOKEN=$(keeper token issue bot)\`.
`;

// What the tests set for themselves: where a program lies, and what keeps the machine's
// own settings out.
const ofTests = new Set(['CLAUDE', 'CODEX', 'GO_CLIENT', 'AI_PROVIDER', 'GIT_TERMINAL_PROMPT', 'GIT_CONFIG_NOSYSTEM', 'AWS_EC2_METADATA_DISABLED', 'AWS_DEFAULT_REGION']);
const languages = { '.mjs': 'js', '.py': 'python', '.sh': 'sh', '.go': 'go' };

const fence = (language, text) => `\`\`\`${language}\n${text.trimEnd()}\n\`\`\``;
const fileOf = ({ run }) => run.find((word) => word.includes('/programs/'));
const named = (client) => basename(fileOf(client));

// address is where the client finds the provider at keeper: some need a listener.
const address = (client) => (client.listens ? 'https://keeper.example:8701' : `http://127.0.0.1:8700/api/v1/proxy/${client.provider}`);

function settings(client) {
  const set = client.base({ base: address(client), token: '$TOKEN', authority: 'ca.pem' });
  return Object.entries(set).filter(([name]) => !ofTests.has(name)).map(([name, value]) => `export ${name}="${value}"`).join('\n');
}

function program(client) {
  const file = fileOf(client);
  const language = Object.entries(languages).find(([end]) => file.endsWith(end))[1];
  const text = readFileSync(file, 'utf8').replaceAll('"$CLAUDE"', 'claude').replaceAll('"$CODEX"', 'codex');
  return `The program, \`${named(client)}\`:\n\n${fence(language, text)}`;
}

const listener = ({ provider }) => `It knows no path at its host, so the provider gets a listener of its own:
\`KEEPER_LISTEN_${provider.toUpperCase().replaceAll('-', '_')}=…\` for \`keeper serve\`; \`keeper ca\` writes the \`ca.pem\` that clients trust
([configuration.md](configuration.md)).\n\n`;

function quickStart(client) {
  const launcher = client.run[0].endsWith('python3') ? 'python3' : client.run[0];
  const command = [launcher, named(client), 'plain', 'Hello', ...(client.more ?? [])].join(' ');
  return `## ${client.name}

Key: \`keeper secret set ${client.provider}\`. Scope: \`${client.scope}\`.

${client.listens ? listener(client) : ''}${fence('sh', `keeper run --agent bot -- ${command}

# or by its base URL
${settings(client)}
${command}`)}

${program(client)}
`;
}

// renderQuickStarts returns the page.
export function renderQuickStarts() {
  return `${intro}\n${clients.map(quickStart).join('\n')}`;
}
