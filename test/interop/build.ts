// Builds the foreign peers with Go into .cache/interop, one compiler at a time and at low priority.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

const directory = resolve('.cache/interop');
const sources = resolve('test/interop/go');

export type Peers = { readonly kubo: string; readonly goPeer: string };

/** Paths of both programs; Go builds only what changed. Throws with what to do where Go is absent. */
export function buildPeers(): Peers {
  const found = spawnSync('go', ['version'], { encoding: 'utf8' });
  if (found.status !== 0) {
    throw new Error(
      'expected Go 1.26 or newer to build kubo and a go-libp2p peer, got none; install Go and run this again',
    );
  }
  console.log(`building with ${found.stdout.trim()} (the first time takes minutes)`);
  mkdirSync(directory, { recursive: true });
  const kubo = join(directory, 'ipfs');
  const goPeer = join(directory, 'go-peer');
  // kubo is a tool of the same module, so that both are pinned by one go.sum and compiled once.
  // 0.43.1 is not used because it replaces go-libp2p by a fork.
  go(['build', '-o', goPeer, '.']);
  go(['build', '-o', kubo, 'github.com/ipfs/kubo/cmd/ipfs']);
  return { kubo, goPeer };
}

function go([verb, ...rest]: readonly string[]): void {
  const args = ['-n', '19', 'go', verb as string, '-p', '1', ...rest];
  const env = { ...process.env, GOMAXPROCS: '1', GOTOOLCHAIN: 'local' };
  const built = spawnSync('nice', args, {
    cwd: sources,
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (built.status === 0) return;
  throw new Error(`expected \`go ${verb} ${rest.join(' ')}\` to succeed, got:\n${built.stderr}`);
}
