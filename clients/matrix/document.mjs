// The matrix as a page: docs/clients.md. With --write it and docs/quickstart.md are written.
import { readFileSync, writeFileSync } from 'node:fs';
import { clients, columns, modes } from './clients.mjs';
import { renderQuickStarts } from './quickstart.mjs';

const pinned = JSON.parse(readFileSync(new URL('../package.json', import.meta.url))).devDependencies;
const docs = new URL('../../docs/', import.meta.url);

const intro = `# Clients

What clients make of keeper, unmodified and as installed: each row is a program that
was run in each column against providers that answer nothing without the real
credential. \`clients/run\` runs them all, \`clients/run matrix\` these alone, and
\`clients/run --write\` writes this page.

- **plain**: the provider's answer is shown. **streaming**: so are its pieces.
- **error shown**: a key is in the request, and keeper's sentence in what the program
  prints, after one refused call.
- **revoked token**: the same for a token that was revoked.
`;

const titled = ({ name, npm }) => (npm ? name.split(' + ').map((part) => `${part} ${pinned[part] ?? pinned[npm]}`).join(' + ') : name);

// render returns the page.
export function render() {
  const notes = [];
  const mark = (sign, note) => {
    if (!notes.includes(note)) notes.push(note);
    return `${sign} <sup>${notes.indexOf(note) + 1}</sup>`;
  };
  const cell = (client, mode, name) => {
    const want = client[`${mode}:${name}`] ?? client[name];
    if (want.none) return mark('–', want.none);
    if (want.not) return mark('✘', want.not);
    return want.note ? mark('✔', want.note) : '✔';
  };
  const table = ([mode, title, text]) => [
    `\n## By ${title}\n\n${text}\n`,
    `| Client | ${columns.map(([, name]) => name).join(' | ')} |`,
    `|---|${columns.map(() => '---|').join('')}`,
    ...clients.map((client) => `| ${titled(client)} | ${columns.map(([name]) => cell(client, mode, name)).join(' | ')} |`),
  ].join('\n');
  const tables = modes.map(table).join('\n');
  return `${intro}${tables}\n\n## Notes\n\n${notes.map((note, i) => `${i + 1}. ${note[0].toUpperCase()}${note.slice(1)}.`).join('\n')}\n`;
}

if (process.argv.includes('--write')) {
  writeFileSync(new URL('clients.md', docs), render());
  writeFileSync(new URL('quickstart.md', docs), renderQuickStarts());
}
