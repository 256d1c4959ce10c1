// Keys that look like the vendors' own, made anew in every run, and the search
// for them in all that keeper wrote or answered.
import { randomInt } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const mark = 'C4nary';

const random = (length) => Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');

const digits = (length) => Array.from({ length }, () => randomInt(10)).join('');
const accessKeyId = () => `AKIA${Array.from({ length: 16 }, () => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[randomInt(32)]).join('')}`;

const shapes = {
  openai: (core) => `sk-proj-${core(70)}T3BlbkFJ${random(70)}`,
  anthropic: (core) => `sk-ant-api03-${core(91)}AA`,
  gemini: (core) => `AIza${core(35)}`,
  github: (core) => `ghp_${core(36)}`,
  stripe: (core) => `sk_live_${core(99)}`,
  slack: (core) => `xoxb-${digits(12)}-${digits(13)}-${core(24)}`,
  mcp: (core) => core(40),
  'aws-bedrock': (core) => `${accessKeyId()}:${core(40)}`,
  'aws-s3': (core) => `${accessKeyId()}:${core(40)}`,
};

export const vendors = Object.keys(shapes);

// newKey makes a key of a vendor, the mark at the beginning of its secret part.
export function newKey(vendor) {
  return shapes[vendor]((length) => mark + random(length - mark.length));
}

// leaks names the keys that stand in text, in clear, base64 or hex.
export function leaks(keys, text) {
  return Object.keys(keys).filter((vendor) => {
    const core = keys[vendor].slice(keys[vendor].indexOf(mark));
    return forms(core).some((form) => text.includes(form)) || text.toLowerCase().includes(Buffer.from(core).toString('hex'));
  });
}

function forms(core) {
  const all = [core];
  for (const before of [0, 1, 2]) {
    const whole = Buffer.concat([Buffer.alloc(before), Buffer.from(core)]);
    const even = whole.subarray(0, whole.length - (whole.length % 3));
    for (const encoding of ['base64', 'base64url']) {
      all.push(even.toString(encoding).slice(before > 0 ? 4 : 0));
    }
  }
  return all;
}

// leaksInFolder names the files below a folder that hold a key.
export async function leaksInFolder(keys, folder) {
  const found = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const text = await readFile(join(entry.parentPath ?? entry.path, entry.name), 'latin1');
    for (const vendor of leaks(keys, text)) found.push(`${vendor} in ${entry.name}`);
  }
  return found;
}
