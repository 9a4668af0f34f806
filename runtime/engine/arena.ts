// The arena: one block of memory that the kernels address by byte offset, with a small first-fit
// allocator. WebAssembly's linear memory and the addon's buffer are driven alike.

/** What a build of the kernels offers: memory that can grow, and entries run by name. */
export type KernelMemory = {
  readonly backend: 'wasm' | 'native';
  /** First byte the allocator may hand out. */
  readonly start: number;
  buffer(): ArrayBuffer;
  /** Makes the buffer at least this long; earlier views of it become stale. */
  grow(bytes: number): void;
  run(entry: KernelEntry, argumentsAt: number): number;
  /** See Arena.packFile; absent where a build cannot read files. */
  packFile?(argumentsAt: number, rows: FileRows): number;
};

/** Consecutive rows of an open file, read by several threads, `step` (a multiple of eight) at a time. */
export type FileRows = {
  readonly descriptor: number;
  /** Byte offset of the first row in the file. */
  readonly position: number;
  readonly rowBytes: number;
  readonly step: number;
  readonly threads: number;
};

export type KernelEntry =
  | 'workspace_bytes'
  | 'model_size'
  | 'vectors_size'
  | 'resident_size'
  | 'pack_part'
  | 'place_vector'
  | 'base_frequencies'
  | 'build_rope'
  | 'pack_model'
  | 'adapter_packed_size'
  | 'pack_adapter'
  | 'batch_bytes'
  | 'batch_pack'
  | 'batch_extend'
  | 'record_gradient'
  | 'full_gradient'
  | 'extend'
  | 'score'
  | 'embed_rows'
  | 'layer_rows'
  | 'head_rows'
  | 'adamw'
  | 'sum_squares'
  | 'add'
  | 'scalar_exp'
  | 'scalar_log'
  | 'scalar_sin'
  | 'scalar_cos'
  | 'scalar_sqrt'
  | 'op_matmul'
  | 'op_product'
  | 'op_back_product'
  | 'op_rmsnorm'
  | 'op_rmsnorm_backward'
  | 'op_swiglu'
  | 'op_swiglu_backward'
  | 'op_softmax'
  | 'op_window_softmax'
  | 'op_softmax_backward'
  | 'op_rope'
  | 'op_cross_entropy'
  | 'op_exp';

/** The kernels had no room: the arena is bounded by 4 GiB and by the machine. */
export class ArenaFullError extends Error {
  readonly code = 'ARENA_FULL';
  readonly details: { readonly requestedBytes: number; readonly arenaBytes: number };
  constructor(requestedBytes: number, arenaBytes: number, cause?: unknown) {
    super(
      `expected room for ${requestedBytes} more bytes, the arena has ${arenaBytes}; ` +
        'use a smaller model, batch or context, or free memory',
      { cause },
    );
    this.name = 'ArenaFullError';
    this.details = { requestedBytes, arenaBytes };
  }
}

const alignment = 64;
const argumentBytes = 256;
const limitBytes = 4294901760;

/** Owner of one kernel memory; all offsets are bytes. Views are stale after the next allocate. */
export class Arena {
  readonly backend: 'wasm' | 'native';
  readonly #memory: KernelMemory;
  readonly #arguments: number;
  readonly #sizes = new Map<number, number>();
  #free: { at: number; bytes: number }[] = [];
  #top: number;
  readonly #most: number;

  /** @param mostBytes how large it may become */
  constructor(memory: KernelMemory, mostBytes = limitBytes) {
    this.#most = Math.min(mostBytes, limitBytes);
    this.backend = memory.backend;
    this.#memory = memory;
    this.#arguments = Math.ceil(Math.max(memory.start, alignment) / alignment) * alignment;
    this.#top = this.#arguments + argumentBytes;
    this.#reserve(0);
  }

  /** Runs a kernel entry with f64 arguments (offsets, counts, numbers). */
  call(entry: KernelEntry, ...parameters: number[]): number {
    new Float64Array(this.#memory.buffer(), this.#arguments, parameters.length).set(parameters);
    return this.#memory.run(entry, this.#arguments);
  }

  /** Whether `packFile` can be asked. */
  get packsFiles(): boolean {
    return this.#memory.packFile !== undefined;
  }

  /**
   * `pack_part` with these parameters for rows of a file; `raw` among them needs room for `threads` times
   * `step` rows and 128 bytes. 1: packed; 0: a value is not finite; -1: the file gave too few bytes.
   */
  packFile(rows: FileRows, ...parameters: number[]): number {
    new Float64Array(this.#memory.buffer(), this.#arguments, parameters.length).set(parameters);
    return this.#memory.packFile!(this.#arguments, rows);
  }

  /** A 64-byte aligned block; its content is undefined. */
  allocate(bytes: number): number {
    const size = Math.max(alignment, Math.ceil(bytes / alignment) * alignment);
    const index = this.#free.findIndex((hole) => hole.bytes >= size);
    const hole = this.#free[index];
    if (hole !== undefined) {
      const { at } = hole;
      hole.at += size;
      hole.bytes -= size;
      if (hole.bytes === 0) this.#free.splice(index, 1);
      this.#sizes.set(at, size);
      return at;
    }
    this.#reserve(size);
    const at = this.#top;
    this.#top += size;
    this.#sizes.set(at, size);
    return at;
  }

  /** Gives a block back. */
  release(at: number): void {
    const bytes = this.#sizes.get(at);
    if (bytes === undefined) throw new Error(`expected an allocated block, found offset ${at}`);
    this.#sizes.delete(at);
    this.#free.push({ at, bytes });
    this.#free.sort((a, b) => a.at - b.at);
    const merged: { at: number; bytes: number }[] = [];
    for (const hole of this.#free) {
      const last = merged.at(-1);
      if (last !== undefined && last.at + last.bytes === hole.at) last.bytes += hole.bytes;
      else merged.push(hole);
    }
    const last = merged.at(-1);
    if (last !== undefined && last.at + last.bytes === this.#top) {
      this.#top = last.at;
      merged.pop();
    }
    this.#free = merged;
  }

  /** Bytes up to the highest block in use. */
  get usedBytes(): number {
    return this.#top;
  }

  f32(at: number, length: number): Float32Array {
    return new Float32Array(this.#memory.buffer(), at, length);
  }

  i32(at: number, length: number): Int32Array {
    return new Int32Array(this.#memory.buffer(), at, length);
  }

  u32(at: number, length: number): Uint32Array {
    return new Uint32Array(this.#memory.buffer(), at, length);
  }

  u8(at: number, length: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer(), at, length);
  }

  #reserve(bytes: number): void {
    const needed = this.#top + bytes;
    const have = this.#memory.buffer().byteLength;
    if (needed > this.#most) throw new ArenaFullError(bytes, have);
    if (needed <= have) return;
    try {
      this.#memory.grow(Math.min(this.#most, Math.max(needed, Math.ceil(have * 1.25))));
    } catch (cause) {
      throw new ArenaFullError(bytes, have, cause);
    }
  }
}
