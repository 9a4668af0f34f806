// Where the kernel files lie, both when the project runs from its sources and from its bundles.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds kernels.c and kernels.wasm. */
export function kernelFolder(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const places = [
    '.',
    '../kernels',
    '../runtime/kernels',
    '../../runtime/kernels',
    'runtime/kernels',
  ];
  for (const place of places) {
    const folder = join(here, place);
    if (existsSync(join(folder, 'kernels.wasm'))) return folder;
  }
  throw new Error(
    `expected kernels.wasm beside ${here} or in runtime/kernels; reinstall the package`,
  );
}

/** The package's own folder: the nearest parent of the kernels with a package.json. */
export function packageFolder(): string {
  let folder = kernelFolder();
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) return kernelFolder();
    folder = parent;
  }
  return folder;
}
