// Named blocks for what a pass computes on the way, kept between passes and grown when one needs more.
import type { Block, Device } from './device.ts';

export class Workspace {
  readonly #device: Device;
  readonly #blocks = new Map<string, Block>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** The block of this name, at least so many floats long; what was in it may be gone. */
  async take(name: string, floats: number): Promise<Block> {
    const found = this.#blocks.get(name);
    if (found !== undefined && found.bytes >= floats * 4) return found;
    if (found !== undefined) {
      this.#device.flush();
      this.#device.release(found);
      this.#blocks.delete(name);
    }
    const made = await this.#device.allocate(floats * 4);
    this.#blocks.set(name, made);
    return made;
  }

  /** The same for several names at once. */
  async takeAll<N extends string>(
    sizes: Readonly<Record<N, number>>,
    prefix = '',
  ): Promise<Record<N, Block>> {
    const blocks = {} as Record<N, Block>;
    for (const [name, floats] of Object.entries(sizes) as [N, number][]) {
      blocks[name] = await this.take(prefix + name, floats);
    }
    return blocks;
  }

  release(): void {
    for (const block of this.#blocks.values()) this.#device.release(block);
    this.#blocks.clear();
  }
}
