/**
 * Where the project lies on this machine, found from this file upward, because the same code runs
 * from its source folder and from the bundle in dist/.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

let found: string | undefined;

/** The folder that holds this project's package.json. */
export function projectRoot(): string {
  if (found !== undefined) return found;
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && readFileSync(manifest, 'utf8').includes('"openledger-swarm"')) {
      found = folder;
      return folder;
    }
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`no openledger-swarm package above ${import.meta.url}`);
    folder = parent;
  }
}

/** The base model that ships with the project. */
export const shippedBase = (): string => join(projectRoot(), 'runtime', 'base');

/** Where `openledger model add` keeps models. */
export const modelsFolder = (dataDir: string): string => join(dataDir, 'models');

/** A base as options name it: a model that was added under that name, or a folder. */
export function baseFolder(dataDir: string, named: string): string {
  const added = join(modelsFolder(dataDir), named);
  return /^[A-Za-z0-9]/.test(named) && existsSync(join(added, 'config.json'))
    ? added
    : resolve(named);
}

/** The bundled compute worker, or undefined when running from source (the pool then finds its own). */
export function workerFile(): string | undefined {
  const file = join(projectRoot(), 'dist', 'worker.js');
  return import.meta.url.includes('/dist/') && existsSync(file) ? file : undefined;
}
