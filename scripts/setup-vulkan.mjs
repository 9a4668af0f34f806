// `npm run setup:vulkan`: puts a Vulkan driver that computes on the CPU into .cache/vulkan, so that
// the WebGPU tests run on a machine without a GPU and without its package manager. SwiftShader's
// library comes out of the npm package @sparticuz/chromium, of which nothing is run.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';

const PACKAGE = '@sparticuz/chromium@147.0.0';
const INTEGRITY =
  'sha512-4ZKeAQQa8up2mt675qSitztLdbQrlf8BKdC5naeap+5Mv1OV1OlJdPoU+EJC/p5sQUJUQmN4r+q5+EhaaOUHpQ==';
const WANTED = ['libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'];
const target = join('.cache', 'vulkan');
const use = `in ${target}; a command uses it with LD_LIBRARY_PATH=${target} VK_ICD_FILENAMES=${join(target, WANTED[2])}`;

/** Names and contents of a tar archive's files. */
function* filesOf(tar) {
  const text = (from, length) => tar.toString('latin1', from, from + length).replace(/\0.*$/s, '');
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    yield [text(at, 100).replace(/^\.\//, ''), tar.subarray(at + 512, at + 512 + size)];
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.log(`no software Vulkan for ${process.platform} on ${process.arch}: nothing to do`);
} else if (WANTED.every((name) => existsSync(join(target, name)))) {
  console.log(`software Vulkan: ${use}`);
} else {
  mkdirSync(target, { recursive: true });
  const packed = execFileSync('npm', ['pack', PACKAGE, '--json', '--pack-destination', target]);
  const archive = join(target, JSON.parse(packed)[0].filename.replace(/^@/, '').replace('/', '-'));
  const bytes = readFileSync(archive);
  rmSync(archive);
  const found = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
  if (found !== INTEGRITY) throw new Error(`${PACKAGE}: expected ${INTEGRITY}, found ${found}`);
  const outer = new Map(filesOf(gunzipSync(bytes)));
  const inner = new Map(filesOf(brotliDecompressSync(outer.get('package/bin/swiftshader.tar.br'))));
  for (const name of WANTED) writeFileSync(join(target, name), inner.get(name));
  console.log(`software Vulkan: ${use}`);
}
