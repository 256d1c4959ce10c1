// Programs that are no SDKs, run as a user would run them.
import { execFile } from 'node:child_process';

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
