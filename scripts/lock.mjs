// `npm run lock`: rewrites package-lock.json so that `npm ci` works everywhere: addresses of
// registries are left out, and platform packages that the registry in use did not serve are named
// with the platform they are for, so that npm knows to skip them elsewhere.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const OS = [
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
  'aix',
  'wasm32',
];
const CPU = [
  'arm64',
  'x64',
  'ia32',
  'arm',
  'ppc64',
  'riscv64',
  's390x',
  'loong64',
  'mips64el',
  'wasm32',
];

execFileSync('npm', ['install', '--package-lock-only', '--no-audit'], { stdio: 'inherit' });
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
for (const [path, entry] of Object.entries(lock.packages)) {
  if (/^https?:/.test(entry.resolved ?? '')) delete entry.resolved;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const isThere = Object.keys(lock.packages).some((key) => key.endsWith(`node_modules/${name}`));
    if (isThere || path === '') continue;
    lock.packages[`node_modules/${name}`] = platformEntry(name, version, entry.dev === true);
  }
}
lock.packages = Object.fromEntries(
  Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)),
);
writeFileSync('package-lock.json', `${JSON.stringify(lock, null, 2)}\n`);

function platformEntry(name, version, isDev) {
  const os = OS.find((each) => name.includes(each)) ?? (name.includes('wasi') ? 'wasm32' : null);
  const cpu =
    CPU.find((each) => new RegExp(`[-]${each}`).test(name)) ??
    (/-arm-/.test(name) ? 'arm' : /wasi/.test(name) ? 'wasm32' : null);
  return {
    version,
    ...(cpu === null ? {} : { cpu: [cpu] }),
    ...(isDev ? { dev: true } : {}),
    ...(/musl/.test(name) ? { libc: ['musl'] } : {}),
    optional: true,
    ...(os === null ? {} : { os: [os] }),
  };
}
