// Programs that are no SDKs, run as a user would run them.
import { execFile, spawn } from 'node:child_process';

// held starts a program that says "ready" first and waits for a line; meanwhile, which
// runs between, is awaited. It returns what run does.
export async function held(program, args, { cwd, env }, meanwhile) {
  const child = spawn(program, args, { cwd, env: { PATH: process.env.PATH, ...env } });
  const result = { stdout: '', stderr: '' };
  const ended = new Promise((resolve, reject) => child.once('error', reject).once('close', (code, signal) => resolve(code ?? signal)));
  const ready = new Promise((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      result.stdout += chunk;
      if (result.stdout.startsWith('ready\n')) resolve();
    });
  });
  child.stderr.setEncoding('utf8').on('data', (chunk) => { result.stderr += chunk; });
  await Promise.race([ready, ended]);
  await meanwhile();
  child.stdin.on('error', () => {}).end('go\n');
  const code = await ended;
  return { ...result, code };
}

// run returns a program's exit code and outputs. It never rejects.
export function run(program, args, { cwd, env } = {}) {
  return new Promise((resolve) => {
    execFile(program, args, { cwd, env: { PATH: process.env.PATH, ...env }, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      resolve({ code: error ? error.code ?? error.signal : 0, stdout, stderr });
    });
  });
}

// has reports whether a program is there.
export async function has(program) {
  return (await run(program, ['--version'])).code === 0;
}
